//! Peers that do not read, send ahead without end, or send more than can be judged: they stall only themselves.

use std::time::Duration;

use pglens_wire::backend::tag;
use pglens_wire::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::Stack;
use crate::raw::{Raw, dial};

fn made(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

/// Types of the messages up to `ReadyForQuery`.
async fn tags_until_ready<S>(raw: &mut Raw<S>) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut tags = String::new();
    loop {
        let (tag, _payload) = raw.frame().await;
        tags.push(char::from(tag));
        if tag == tag::READY_FOR_QUERY {
            return tags;
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_statements_sent_ahead_are_all_answered() {
    const STATEMENTS: usize = 100_000;
    let stack = Stack::start().await;
    let mut raw = dial(&stack).await;
    raw.log_in(0, &[]).await;
    let one = made(|out| {
        frontend::put_parse(out, b"", "select 1");
        frontend::put_bind(out, b"", b"");
        frontend::put_execute(out, b"");
    });
    let (mut reader, mut writer) = raw.0.into_split();
    let (written, mut progress) = tokio::sync::watch::channel(0_usize);
    let sending = tokio::spawn(async move {
        for count in 0..STATEMENTS / 100 {
            writer.write_all(&one.repeat(100)).await.unwrap();
            written.send_replace(count);
        }
        writer.write_all(&made(frontend::put_sync)).await.unwrap();
        writer
    });
    // Nothing is read until nothing more is taken: both directions are full to the brim.
    while tokio::time::timeout(Duration::from_secs(1), progress.changed())
        .await
        .is_ok_and(|changed| changed.is_ok())
    {}
    let other = stack.connect().await;
    let seven = other.query_one("select 7", &[]).await.unwrap();
    assert_eq!(seven.get::<_, i32>(0), 7, "other sessions are not stalled");
    drop(other);
    let (mut bytes, mut executed, mut rest) = (vec![0; 65536], 0, Vec::new());
    'reading: loop {
        let count = reader.read(&mut bytes).await.unwrap();
        assert_ne!(
            count, 0,
            "the connection was closed after {executed} statements"
        );
        rest.extend_from_slice(&bytes[..count]);
        let mut at = 0;
        while let Ok(Some(header)) = pglens_wire::frame::Header::peek(&rest[at..]) {
            if rest.len() < at + header.total_bytes() {
                break;
            }
            at += header.total_bytes();
            match header.tag() {
                tag::COMMAND_COMPLETE => executed += 1,
                tag::ERROR_RESPONSE => panic!("{}", String::from_utf8_lossy(&rest)),
                tag::READY_FOR_QUERY => break 'reading,
                _ => {}
            }
        }
        rest.drain(..at);
    }
    assert_eq!(executed, STATEMENTS);
    sending.await.unwrap();
    stack.stop().await;
}

#[tokio::test]
async fn a_portal_in_parts_many_parameters_and_an_oversized_message_pass_or_are_refused_alone() {
    let stack = Stack::start().await;
    let mut raw = dial(&stack).await;
    raw.log_in(0, &[]).await;
    raw.send(&made(|out| {
        frontend::put_query(out, "begin");
        frontend::put_parse(out, b"", "select generate_series(1, 5)");
        frontend::put_bind(out, b"p", b"");
        for max_rows in [2_u32, 2, 0] {
            pglens_wire::backend::put_raw(
                out,
                frontend::tag::EXECUTE,
                &[b"p\0".as_slice(), &max_rows.to_be_bytes()].concat(),
            );
        }
        frontend::put_sync(out);
        frontend::put_query(out, "commit");
    }))
    .await;
    assert_eq!(tags_until_ready(&mut raw).await, "CZ");
    assert_eq!(tags_until_ready(&mut raw).await, "12DDsDDsDCZ");
    assert_eq!(tags_until_ready(&mut raw).await, "CZ");

    // 65,535 parameters of a statement that uses the last one.
    const MOST: u16 = u16::MAX;
    raw.send(&made(|out| {
        frontend::put_parse(out, b"", "select $65535::text");
        let mut bind = b"\0\0\0\0".to_vec();
        bind.extend(MOST.to_be_bytes());
        for _ in 0..MOST {
            bind.extend(1_i32.to_be_bytes());
            bind.push(b'x');
        }
        bind.extend([0; 2]);
        pglens_wire::backend::put_raw(out, frontend::tag::BIND, &bind);
        frontend::put_execute(out, b"");
        frontend::put_sync(out);
    }))
    .await;
    // What PostgreSQL says of 65,534 parameters whose type nobody can tell; the session goes on either way.
    assert!(tags_until_ready(&mut raw).await.ends_with('Z'));

    let large = format!("select '{}'", "x".repeat(40_000_000));
    raw.send(&made(|out| frontend::put_query(out, &large)))
        .await;
    assert_eq!(tags_until_ready(&mut raw).await, "EZ");
    raw.send(&made(|out| {
        frontend::put_query(out, "select 1; select 2; ;")
    }))
    .await;
    assert_eq!(tags_until_ready(&mut raw).await, "TDCTDCZ");
    raw.send(&made(|out| frontend::put_query(out, ""))).await;
    assert_eq!(tags_until_ready(&mut raw).await, "IZ");
    stack.stop().await;
}

#[tokio::test]
async fn what_was_sent_before_a_goodbye_is_answered_and_recorded() {
    let stack = Stack::start().await;
    let mut raw = dial(&stack).await;
    raw.log_in(0, &[]).await;
    raw.send(&made(|out| {
        frontend::put_query(out, "select generate_series(1, 20000)");
        frontend::put_parse(out, b"", "select 7");
        frontend::put_bind(out, b"", b"");
        frontend::put_execute(out, b"");
        frontend::put_sync(out);
        frontend::put_terminate(out);
    }))
    .await;
    let mut bytes = Vec::new();
    raw.0.read_to_end(&mut bytes).await.unwrap();
    let (mut at, mut rows, mut completed) = (0, 0, 0);
    while let Ok(Some(header)) = pglens_wire::frame::Header::peek(&bytes[at..]) {
        at += header.total_bytes();
        rows += usize::from(header.tag() == tag::DATA_ROW);
        completed += usize::from(header.tag() == tag::COMMAND_COMPLETE);
    }
    assert_eq!((rows, completed), (20_001, 2));
    let statements = stack.control.ended_statements(2).await;
    let known = statements.iter().all(|one| !one.end().outcome_unknown);
    assert!(known, "{statements:?}");
    stack.stop().await;
}

#[tokio::test]
async fn values_of_any_size_reach_the_target() {
    const BYTES: usize = 40_000_000;
    let stack = Stack::start().await;
    let client = stack.connect().await;
    let value = vec![7_u8; BYTES];
    let row = client
        .query_one("select length($1::bytea), md5($1)", &[&value])
        .await
        .unwrap();
    assert_eq!(usize::try_from(row.get::<_, i32>(0)), Ok(BYTES));
    let statements = stack.control.ended_statements(1).await;
    let [parameter] = statements[0].started.parameters.as_slice() else {
        panic!("{} parameters", statements[0].started.parameters.len())
    };
    assert_eq!(parameter.value_bytes, Some(BYTES as u64));
    stack.stop().await;
}
