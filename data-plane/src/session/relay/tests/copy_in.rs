//! COPY FROM STDIN: what of its data is kept, and which Syncs it swallows.

use super::*;

const LINES: usize = 400;

/// Runs COPY with `messages` messages of `LINES` lines each; returns the end of its record, and the data that is kept.
fn copied(format: u8, messages: usize) -> (v1::StatementEnded, Vec<u8>) {
    let mut script = Setup::default().script();
    script.client(&query("copy t from stdin"));
    script.target(&made(|out| {
        backend::put_raw(out, tag::COPY_IN_RESPONSE, &[format, 0, 0]);
    }));
    let data = message().repeat(messages);
    assert_eq!(script.client(&data), data);
    script.client(&made(|out| {
        backend::put_empty(out, frontend::tag::COPY_DONE)
    }));
    script.target(&[complete("COPY 0"), ready(TransactionStatus::Idle)].concat());
    let (mut ended, mut kept) = (None, Vec::new());
    for event in script.events() {
        match event {
            Event::RowsCaptured(rows) => kept.extend(rows.data),
            Event::StatementEnded(end) => ended = Some(end),
            _ => {}
        }
    }
    (ended.unwrap(), kept)
}

fn message() -> Vec<u8> {
    let lines = b"1\n".repeat(LINES);
    made(|out| backend::put_raw(out, frontend::tag::COPY_DATA, &lines))
}

#[test]
fn the_limit_counts_lines_and_the_digest_all_of_it() {
    let (ended, kept) = copied(0, 7);
    // A thousand rows may be kept: the third message begins below that.
    assert_eq!(kept, message().repeat(3));
    assert_eq!(ended.captured_bytes, kept.len() as u64);
    assert!(ended.rows_truncated);
    let all = message().repeat(7);
    assert_eq!(ended.result_digest, blake3::hash(&all).as_bytes());
    assert_eq!(
        ended.bytes_in - all.len() as u64,
        query("copy t from stdin").len() as u64
    );
}

#[test]
fn binary_data_has_no_lines() {
    let (ended, kept) = copied(1, 7);
    assert_eq!(kept, message().repeat(7));
    assert!(!ended.rows_truncated);
}

fn data(line: &str) -> Vec<u8> {
    let line = format!("{line}\n");
    made(|out| backend::put_raw(out, frontend::tag::COPY_DATA, line.as_bytes()))
}

/// The answers to Parse, Bind and Execute of a COPY.
fn begun() -> Vec<u8> {
    [
        empty(tag::PARSE_COMPLETE),
        empty(tag::BIND_COMPLETE),
        made(|out| backend::put_raw(out, tag::COPY_IN_RESPONSE, &[0, 0, 0])),
    ]
    .concat()
}

#[test]
fn copy_in_swallows_the_sync_that_came_before_its_data() {
    let mut script = Setup::default().script();
    let mut sent = parse_bind_execute("copy t from stdin");
    sent.extend(sync());
    script.client(&sent);
    script.target(&begun());
    let data = data("1");
    let done = made(|out| backend::put_empty(out, frontend::tag::COPY_DONE));
    assert_eq!(
        tags(&script.client(&[data.clone(), data, done, sync()].concat())),
        "ddcS"
    );
    script.target(&[complete("COPY 2"), ready(TransactionStatus::Idle)].concat());
    assert_eq!(
        script.record(),
        [entry("copy t from stdin", "COPY 2 2", "I")]
    );
    assert!(script.engine.is_idle());
}

/// As PostgreSQL does it: what comes behind data that cannot be is not read by the COPY any more.
#[test]
fn a_sync_behind_data_that_failed_is_answered_before_the_query_behind_it() {
    let mut script = Setup::default().script();
    script.client(&query("copy t from stdin"));
    script.target(&made(|out| {
        backend::put_raw(out, tag::COPY_IN_RESPONSE, &[0, 0, 0]);
    }));
    let behind = [sync(), query("select 1"), sync()];
    script.client(&[data("no number"), behind.concat()].concat());
    let ready = || ready(TransactionStatus::Idle);
    let failed = [error("22P02"), ready()];
    script.target(
        &[
            failed.concat(),
            ready(),
            complete("SELECT 0"),
            ready(),
            ready(),
        ]
        .concat(),
    );
    assert_eq!(
        script.record(),
        [
            entry("copy t from stdin", "22P02", "I"),
            entry("select 1", "SELECT 0 0", "I")
        ]
    );
    assert!(script.engine.is_answered());
}

/// In the extended protocol a failed COPY makes the target discard what follows up to the next Sync, which is one that
/// came behind the data. The error may be known before or after that Sync, or what stands behind it, has passed.
#[test]
fn what_stands_behind_a_sync_behind_failed_data_runs_whenever_the_error_comes() {
    for error_after in 0..=3 {
        let mut script = Setup::default().script();
        script.client(&[parse_bind_execute("copy t from stdin"), sync()].concat());
        script.target(&begun());
        let behind = [data("no number"), sync(), sync(), query("select 1")];
        let mut passed = String::new();
        for (index, message) in behind.iter().enumerate() {
            passed += &tags(&script.client(message));
            if index == error_after {
                script.target(&error("22P02"));
            }
        }
        assert_eq!(
            passed, "dSSQ",
            "the error came behind message {error_after}"
        );
        let idle = || ready(TransactionStatus::Idle);
        script.target(&[idle(), idle(), complete("SELECT 0"), idle()].concat());
        assert_eq!(
            script.record(),
            [
                entry("copy t from stdin", "22P02", "I"),
                entry("select 1", "SELECT 0 0", "I")
            ]
        );
    }
}

/// A COPY that is cancelled while it waits for data has read the Syncs that came before: it is over at the next one.
#[test]
fn a_cancelled_copy_has_swallowed_its_syncs() {
    let mut script = Setup::default().script();
    script.client(&parse_bind_execute("copy t from stdin"));
    script.target(&begun());
    script.client(&[data("1"), sync()].concat());
    script.target(&error("57014"));
    let behind = [query("select 1"), sync(), query("select 2")].concat();
    assert_eq!(tags(&script.client(&behind)), "SQ");
    let idle = || ready(TransactionStatus::Idle);
    script.target(&[idle(), complete("SELECT 0"), idle()].concat());
    assert_eq!(
        script.record(),
        [
            entry("copy t from stdin", "57014", "I"),
            entry("select 2", "SELECT 0 0", "I")
        ]
    );
}

/// Behind a CopyFail it is not known from here whether the Sync before it ended the COPY: then what follows runs.
#[test]
fn what_may_run_behind_a_failed_copy_is_on_record() {
    let mut script = Setup::default().script();
    script.client(&parse_bind_execute("copy t from stdin"));
    script.target(&begun());
    let fail = made(|out| frontend::put_copy_fail(out, "no more"));
    let behind = [sync(), fail, query("select 1; select 2")].concat();
    script.client(&[data("no number"), behind].concat());
    let idle = || ready(TransactionStatus::Idle);
    script.target(&[error("22P02"), idle()].concat());
    let (ending, _told) = script.target_ends(&complete("SELECT 0"));
    assert_eq!(ending.reason, "target_protocol");
    assert_eq!(
        script.record(),
        [
            entry("copy t from stdin", "22P02", ""),
            entry("select 1", "unknown", ""),
            entry("select 2", "unknown", "I"),
        ]
    );
}

/// A trigger can make a COPY fail before it reads anything: the Sync behind it is answered, and the next message runs.
#[test]
fn what_was_sent_before_a_copy_began_and_failed_runs_and_is_on_record() {
    let mut script = Setup::default().script();
    let sent = [
        parse_bind_execute("copy t from stdin"),
        sync(),
        query("select 1"),
    ];
    script.client(&sent.concat());
    let idle = || ready(TransactionStatus::Idle);
    script.target(&[begun(), error("P0001"), idle()].concat());
    script.target(&[complete("SELECT 0"), idle()].concat());
    assert_eq!(
        script.record(),
        [
            entry("copy t from stdin", "P0001", "I"),
            entry("select 1", "SELECT 0 0", "I")
        ]
    );
    assert!(script.engine.is_answered());
}
