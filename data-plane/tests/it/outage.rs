//! The control plane goes away, and comes back.

use pglens_testkit::{DEADLINE, eventually};

use crate::harness::{Stack, db_error, text};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_logins_are_57p03() {
    let stack = Stack::start().await;
    stack.control.stop();
    let refused = || async {
        match stack.try_connect().await {
            Ok(_) => false,
            Err(error) => db_error(&error).0 == "57P03",
        }
    };
    eventually(DEADLINE, refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_lease() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| terms.lease_ms = 1500);
    let client = stack.connect().await;
    stack.control.answers.send_replace(false);
    let ended = client
        .batch_execute("select pg_sleep(100)")
        .await
        .unwrap_err();
    let (sqlstate, message) = db_error(&ended);
    assert_eq!(sqlstate, "57P01");
    assert!(message.contains("no control plane"), "{message}");
    stack.control.answers.send_replace(true);
    assert_eq!(stack.control.ended_session().await.reason, "lease_ended");
}

/// With one each five seconds, a login that was cut off has its session closed within a minute and a half: a minute in
/// which it may be under way, and half a minute until the next list.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_six_heartbeats_names_all_sessions() {
    let stack = Stack::start().await;
    let _client = stack.connect().await;
    let seen = || stack.control.state().heartbeats.clone();
    let before = seen().len() + 1;
    eventually(DEADLINE, || async { seen().len() >= before + 12 }).await;
    let (heartbeats, sessions) = (seen(), stack.control.state().sessions.clone());
    for six in heartbeats[before..].chunks_exact(6) {
        let mut lists = six.iter().filter(|heartbeat| heartbeat.lists_sessions);
        assert_eq!(lists.next().unwrap().session_ids, sessions);
        assert!(lists.next().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_a_control_plane_and_arrive_once() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| terms.lease_ms = 600_000);
    let client = stack.connect().await;
    client.batch_execute("select 'before'").await.unwrap();
    stack.control.ended_statements(1).await;
    stack.control.answers.send_replace(false);
    for _ in 0..20 {
        client.batch_execute("select 'during'").await.unwrap();
    }
    assert!(stack.control.statements().len() < 21);
    stack.control.answers.send_replace(true);
    stack.control.ended_statements(21).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_records_statements_are_58030_and_rows_wait() {
    let stack = Stack::start_with(&[("PGL_SPOOL_MAX_BYTES", "16777216")]).await;
    stack.control.terms(|terms| terms.lease_ms = 600_000);
    let client = stack.connect().await;
    stack.control.answers.send_replace(false);
    let filling = tokio::spawn(async move {
        let rows = client.simple_query("select repeat('x', 10000) from generate_series(1, 5000)");
        rows.await.unwrap().len()
    });
    let is_full = || async { outbox_bytes(&stack).await > 16_777_216 * 15 / 16 - 300_000 };
    eventually(DEADLINE, is_full).await;
    let other = stack.connect().await;
    // Rows leave less than a chunk free, which small statements may still use.
    let large = format!("select length('{}')", "x".repeat(400_000));
    let refused = other.batch_execute(&large).await.unwrap_err();
    assert_eq!(db_error(&refused).0, "58030");
    assert!(
        !filling.is_finished(),
        "more rows passed than can be recorded"
    );
    stack.control.answers.send_replace(true);
    let usable = || async { other.batch_execute(&large).await.is_ok() };
    eventually(DEADLINE, usable).await;
    assert_eq!(filling.await.unwrap(), 5002);
    let has_ended = || async { stack.control.statements()[0].ended.is_some() };
    eventually(DEADLINE, has_ended).await;
    let statements = stack.control.statements();
    assert_eq!(
        statements[0].end().captured_rows,
        5000,
        "rows waited, none was lost"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_proxy_could_not_send_is_sent_by_the_next_one() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| terms.lease_ms = 600_000);
    let client = stack.connect().await;
    client.batch_execute("select 'before'").await.unwrap();
    stack.control.ended_statements(1).await;
    stack.control.answers.send_replace(false);
    for _ in 0..20 {
        client.batch_execute("select 'during'").await.unwrap();
    }
    drop(client);
    let has_ended = || async { sessions_active(&stack).await == 0 };
    eventually(DEADLINE, has_ended).await;
    let control = stack.stop().await;
    let spool = control.file("spool");
    let folders = || std::fs::read_dir(&spool).unwrap().count();
    assert_eq!(folders(), 1, "the records stay");
    control.answers.send_replace(true);
    control.state().too_old = 1;
    control.state().knows_no_brief_records = true;
    let next = Stack::start_again(control, &[]).await;
    next.control.ended_statements(21).await;
    eventually(DEADLINE, || async { folders() == 1 }).await;
    let recoveries = next.control.state().recoveries.clone();
    assert_eq!(next.control.state().too_old, 0, "asked again");
    assert!(recoveries[0].complete);
    assert_eq!(recoveries[0].run_id, next.control.state().recovered[0]);
    assert_eq!(next.control.ended_session().await.reason, "client_closed");
    let control = next.stop().await;
    assert_eq!(std::fs::read_dir(control.file("spool")).unwrap().count(), 0);
}

/// Replicas of two versions serve while one is replaced by the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_of_an_earlier_version_gets_records_in_full() {
    let control = Stack::start().await.stop().await;
    control.state().knows_no_brief_records = true;
    let stack = Stack::start_again(control, &[]).await;
    stack.control.terms(|terms| terms.lease_ms = 600_000);
    let client = stack.connect().await;
    let statement = client.prepare("select $1::int4 as n").await.unwrap();
    for number in 0..50_i32 {
        client.query_one(&statement, &[&number]).await.unwrap();
    }
    let statements = stack.control.ended_statements(50).await;
    for statement in &statements {
        assert_eq!(statement.started.sql, "select $1::int4 as n");
        let end = statement.end();
        assert_eq!(
            (&*end.command_tag, &*end.columns[0].name),
            ("SELECT 1", "n")
        );
        let digest = blake3::hash(&statement.rows());
        assert_eq!(end.result_digest, digest.as_bytes());
    }
    stack.stop().await;
}

async fn outbox_bytes(stack: &Stack) -> u64 {
    metric(stack, "pglens_record_outbox_bytes ").await
}

async fn sessions_active(stack: &Stack) -> u64 {
    metric(stack, "pglens_sessions_active ").await
}

async fn metric(stack: &Stack, name: &str) -> u64 {
    let metrics = get(stack.bound.operations.port(), "/metrics").await;
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_attachment() {
    let stack = Stack::start().await;
    let status = || async { get(stack.bound.operations.port(), "/readyz").await };
    eventually(DEADLINE, || async {
        status().await.starts_with("HTTP/1.1 200")
    })
    .await;
    let metrics = get(stack.bound.operations.port(), "/metrics").await;
    assert!(
        metrics.contains("pglens_control_plane_attached 1"),
        "{metrics}"
    );
    stack.control.stop();
    eventually(DEADLINE, || async {
        status().await.starts_with("HTTP/1.1 503")
    })
    .await;
}

async fn get(port: u16, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    text(&answer)
}
