//! Statements that complete, and whose implicit transaction does not commit.

use super::*;

fn begun() -> Vec<u8> {
    [empty(tag::PARSE_COMPLETE), empty(tag::BIND_COMPLETE)].concat()
}

fn idle() -> Vec<u8> {
    ready(TransactionStatus::Idle)
}

#[test]
fn an_error_at_sync_is_that_of_the_statement_before_it() {
    let mut script = Setup::default().script();
    script.client(&[parse_bind_execute("insert 1"), sync()].concat());
    script.target(&[begun(), complete("INSERT 0 1"), error("23503"), idle()].concat());
    assert_eq!(script.record(), [entry("insert 1", "23503", "I")]);
    let tag = script.events().into_iter().find_map(|event| match event {
        Event::StatementEnded(end) => Some((end.command_tag, end.error_message)),
        _ => None,
    });
    let told = ("INSERT 0 1".to_owned(), "it failed".to_owned());
    assert_eq!(tag, Some(told), "the client was told both");
    script.client(&query("select 1"));
}

#[test]
fn the_error_may_come_in_a_chunk_of_its_own() {
    let mut script = Setup::default().script();
    let two = [
        parse_bind_execute("insert 1"),
        parse_bind_execute("insert 2"),
    ];
    script.client(&[two.concat(), sync()].concat());
    for _ in 0..2 {
        script.target(&[begun(), complete("INSERT 0 1")].concat());
    }
    script.target(&error("23503"));
    script.target(&idle());
    assert_eq!(
        script.record(),
        [
            entry("insert 1", "INSERT 0 1 0", ""),
            entry("insert 2", "23503", "I")
        ]
    );
}

/// What has gone into the record, in order: a start, rows, or an end.
fn kinds(script: &Script) -> String {
    let kind = |event| match event {
        Event::StatementStarted(_) => 's',
        Event::RowsCaptured(_) => 'r',
        Event::StatementEnded(_) => 'e',
        Event::SessionEnded(_) => 'S',
        brief => panic!("{brief:?} is filled in"),
    };
    script.events().into_iter().map(kind).collect()
}

#[test]
fn the_last_rows_wait_for_no_commit_though_the_end_does() {
    let mut script = Setup::default().script();
    let two = [
        parse_bind_execute("select 1"),
        parse_bind_execute("select 2"),
    ];
    script.client(&[two.concat(), sync()].concat());
    let answer = |value| [begun(), row(value), complete("SELECT 1")].concat();
    script.target(&answer(b"one"));
    assert_eq!(kinds(&script), "sres");
    script.target(&answer(b"two"));
    assert_eq!(kinds(&script), "sresr", "the client has them");
    script.target(&idle());
    assert_eq!(kinds(&script), "sresre");
    assert_eq!(
        script.record(),
        [
            entry("select 1", "SELECT 1 1", ""),
            entry("select 2", "SELECT 1 1", "I")
        ]
    );
    script.client(&query("select 3"));
    script.target(&[row(b"three"), complete("SELECT 1")].concat());
    assert_eq!(kinds(&script), "sresresr");
    let now = script.now;
    script.engine.finish(&Ending::target_closed(false), now);
    assert_eq!(kinds(&script), "sresresreS");
}

#[test]
fn an_error_at_a_sync_that_comes_later_has_a_record_of_its_own() {
    let mut script = Setup::default().script();
    let flush = made(frontend::put_flush);
    script.client(&[parse_bind_execute("insert 1"), flush].concat());
    script.target(&[begun(), complete("INSERT 0 1")].concat());
    assert_eq!(script.record(), [entry("insert 1", "INSERT 0 1 0", "")]);
    script.client(&sync());
    script.target(&[error("23503"), idle()].concat());
    assert_eq!(
        script.record(),
        [
            entry("insert 1", "INSERT 0 1 0", ""),
            entry("Sync", "23503", "I")
        ]
    );
    assert!(script.engine.is_idle());
}

#[test]
fn an_error_behind_the_last_statement_of_a_simple_query_is_that_statements() {
    let mut script = Setup::default().script();
    script.client(&query("insert into t values (1)"));
    script.target(&[complete("INSERT 0 1"), error("23503"), idle()].concat());
    assert_eq!(
        script.record(),
        [entry("insert into t values (1)", "23503", "I")]
    );
}

#[test]
fn what_has_failed_already_keeps_its_error_and_a_lost_connection_is_no_failed_commit() {
    let mut script = Setup::default().script();
    script.client(&[parse_bind_execute("insert 1"), sync()].concat());
    script.target(&[begun(), error("23505"), error("23503"), idle()].concat());
    assert_eq!(script.record()[0], entry("insert 1", "23505", ""));

    let mut script = Setup::default().script();
    script.client(&[parse_bind_execute("commit"), sync()].concat());
    let fatal = made(|out| {
        Report {
            severity: Severity::Fatal,
            sqlstate: "57P01",
            message: "",
            detail: "",
            hint: "",
        }
        .put(out);
    });
    script.target(&[begun(), complete("COMMIT"), fatal].concat());
    let now = script.now;
    script.engine.finish(&Ending::target_closed(true), now);
    assert_eq!(script.record(), [entry("commit", "COMMIT 0", "")]);
}

#[test]
fn rows_of_a_copy_are_those_of_its_tag() {
    let copied = |answer: &[u8]| {
        let mut script = Setup::default().script();
        script.client(&query("copy t from stdin"));
        script.target(&made(|out| {
            backend::put_raw(out, tag::COPY_IN_RESPONSE, &[0, 0, 0]);
        }));
        let data = |text| made(|out| backend::put_raw(out, frontend::tag::COPY_DATA, text));
        let done = made(|out| backend::put_empty(out, frontend::tag::COPY_DONE));
        script.client(&[data(b"1\n2\n3"), data(b"\n"), done].concat());
        script.target(&[answer, &idle()].concat());
        let ended = script.events().into_iter().find_map(|event| match event {
            Event::StatementEnded(end) => Some((end.row_count, end.captured_rows)),
            _ => None,
        });
        ended.unwrap()
    };
    assert_eq!(copied(&complete("COPY 3")), (3, 2));
    assert_eq!(copied(&error("22P02")), (0, 2));
}

#[test]
fn a_header_is_no_row_and_what_left_before_an_error_is() {
    let copied = |answer: &[u8]| {
        let mut script = Setup::default().script();
        script.client(&query("copy t to stdout (format csv, header)"));
        let row = |text| made(|out| backend::put_raw(out, tag::COPY_DATA, text));
        let out = made(|out| backend::put_raw(out, tag::COPY_OUT_RESPONSE, &[0, 0, 0]));
        script.target(&[out, row(b"a\n"), row(b"1\n")].concat());
        script.target(&[answer, &idle()].concat());
        let ended = script.events().into_iter().find_map(|event| match event {
            Event::StatementEnded(end) => Some((end.row_count, end.captured_rows)),
            _ => None,
        });
        ended.unwrap()
    };
    let whole = [empty(tag::COPY_DONE), complete("COPY 1")].concat();
    assert_eq!(copied(&whole), (1, 2));
    assert_eq!(copied(&error("57014")), (2, 2));
}
