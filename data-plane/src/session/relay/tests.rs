//! The engine driven by byte scripts: what goes on to either side, and what is recorded.

use std::sync::Arc;
use std::time::Instant;

use pglens_core::{AccessLevel, GrantId, SessionId};
use pglens_policy::AnalysisCache;
use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use pglens_wire::backend::{self, Report, Severity, TransactionStatus, tag};
use pglens_wire::frame::Header;
use pglens_wire::frontend;
use uuid::Uuid;

use super::engine::{Progress, Wait};
use super::{Ending, Engine};
use crate::audit::capture::CaptureLimits;
use crate::audit::{Outbox, Recorder};
use crate::clock::Now;
use crate::control::allowed::Grant;
use crate::metrics::Metrics;
use crate::policy::{Judge, Quota};

struct Script {
    engine: Engine,
    outbox: Arc<Outbox>,
    now: Now,
}

struct Setup {
    level: AccessLevel,
    queries: Option<u64>,
    bytes: Option<u64>,
    outbox_bytes: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            level: AccessLevel::Write,
            queries: None,
            bytes: None,
            outbox_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Setup {
    fn script(self) -> Script {
        let outbox = Outbox::new(self.outbox_bytes);
        let metrics = Metrics::new(&pglens_runtime::Metrics::new(), &outbox);
        let session_id = SessionId(Uuid::from_u128(7));
        let limits = CaptureLimits {
            max_rows: 1000,
            max_bytes: 1_000_000,
        };
        let recorder = Recorder::new(session_id, Arc::clone(&outbox), metrics, limits);
        let grant = Grant {
            id: GrantId(1),
            access_level: self.level,
            expires_in: std::time::Duration::from_secs(60),
            max_queries: self.queries,
            max_bytes: self.bytes,
            block_copy: false,
            block_ddl: false,
            statement_timeout: None,
        };
        let slice = v1::QuotaSlice {
            queries: self.queries,
            bytes: self.bytes,
            queries_spent: true,
            bytes_spent: true,
            ..Default::default()
        };
        let now = Now {
            instant: Instant::now(),
            unix_us: 1_000_000,
        };
        let engine = Engine::new(
            Judge::new(AnalysisCache::new(), &grant),
            recorder,
            Quota::new(session_id.to_wire(), &slice, now.instant),
            Arc::default(),
            TransactionStatus::Idle,
        );
        Script {
            engine,
            outbox,
            now,
        }
    }
}

fn made(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

/// The type bytes of whole messages.
fn tags(mut bytes: &[u8]) -> String {
    let mut tags = String::new();
    while let Some(header) = Header::peek(bytes).unwrap() {
        tags.push(char::from(header.tag()));
        bytes = &bytes[header.total_bytes()..];
    }
    assert!(bytes.is_empty());
    tags
}

fn error(sqlstate: &str) -> Vec<u8> {
    let report = Report {
        severity: Severity::Error,
        sqlstate,
        message: "it failed",
        detail: "",
        hint: "",
    };
    made(|out| report.put(out))
}

fn empty(tag: u8) -> Vec<u8> {
    made(|out| backend::put_empty(out, tag))
}

fn complete(text: &str) -> Vec<u8> {
    made(|out| backend::put_command_complete(out, text))
}

fn ready(status: TransactionStatus) -> Vec<u8> {
    made(|out| backend::put_ready_for_query(out, status))
}

fn row(value: &[u8]) -> Vec<u8> {
    made(|out| backend::put_data_row(out, &[Some(value)]))
}

fn query(text: &str) -> Vec<u8> {
    made(|out| frontend::put_query(out, text))
}

fn parse_bind_execute(text: &str) -> Vec<u8> {
    made(|out| {
        frontend::put_parse(out, b"", text);
        frontend::put_bind(out, b"", b"");
        frontend::put_execute(out, b"");
    })
}

fn sync() -> Vec<u8> {
    made(frontend::put_sync)
}

impl Script {
    /// The client sends; returns what the target gets.
    fn client(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let progress = self
            .engine
            .client_bytes(bytes, self.now, &mut out)
            .unwrap();
        assert_eq!((progress.consumed, progress.wait), (bytes.len(), None));
        out
    }

    fn client_progress(&mut self, bytes: &[u8]) -> (Progress, Vec<u8>) {
        let mut out = Vec::new();
        let progress = self.engine.client_bytes(bytes, self.now, &mut out);
        (progress.unwrap(), out)
    }

    /// The target sends; returns what the client gets.
    fn target(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let progress = self
            .engine
            .target_bytes(bytes, self.now, &mut out)
            .unwrap();
        assert_eq!((progress.consumed, progress.wait), (bytes.len(), None));
        out
    }

    fn target_ends(&mut self, bytes: &[u8]) -> (Ending, Vec<u8>) {
        let mut out = Vec::new();
        let ending = self
            .engine
            .target_bytes(bytes, self.now, &mut out)
            .unwrap_err();
        (ending, out)
    }

    fn events(&self) -> Vec<Event> {
        let batch = self.outbox.batch_behind(0, usize::MAX, usize::MAX);
        let records = batch.map(|batch| batch.records).unwrap_or_default();
        records.into_iter().map(|r| r.event.unwrap()).collect()
    }

    /// Text, outcome and transaction status of each statement that has ended.
    fn record(&self) -> Vec<(String, String, String)> {
        let mut texts = std::collections::HashMap::new();
        let mut record = Vec::new();
        for event in self.events() {
            match event {
                Event::StatementStarted(start) => {
                    texts.insert(start.query_id, start.sql);
                }
                Event::StatementEnded(end) => {
                    let outcome = if !end.refusal.is_empty() {
                        format!("refused {}", end.sqlstate)
                    } else if end.outcome_unknown {
                        "unknown".to_owned()
                    } else if end.sqlstate.is_empty() {
                        format!("{} {}", end.command_tag, end.row_count)
                    } else {
                        end.sqlstate
                    };
                    record.push((
                        texts[&end.query_id].clone(),
                        outcome,
                        end.transaction_status,
                    ));
                }
                _ => {}
            }
        }
        record
    }
}

fn entry(text: &str, outcome: &str, status: &str) -> (String, String, String) {
    (text.to_owned(), outcome.to_owned(), status.to_owned())
}

#[test]
fn what_is_not_refused_passes_as_it_came_however_it_is_cut() {
    let mut sent = query("select 1");
    sent.extend(parse_bind_execute("select 2"));
    sent.extend(sync());
    let mut answer = row(b"1");
    answer.extend(complete("SELECT 1"));
    answer.extend(ready(TransactionStatus::Idle));
    answer.extend(empty(tag::PARSE_COMPLETE));
    answer.extend(empty(tag::BIND_COMPLETE));
    answer.extend(row(&[7; 20_000]));
    answer.extend(complete("SELECT 1"));
    answer.extend(ready(TransactionStatus::Idle));
    for size in [1, 2, 3, 7, 100, 100_000] {
        let mut script = Setup::default().script();
        let pass = |script: &mut Script, stream: &[u8], to_target: bool| {
            let (mut buffer, mut out) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                buffer.extend_from_slice(piece);
                let now = script.now;
                let progress = if to_target {
                    script.engine.client_bytes(&buffer, now, &mut out)
                } else {
                    script.engine.target_bytes(&buffer, now, &mut out)
                };
                buffer.drain(..progress.unwrap().consumed);
            }
            assert!(buffer.is_empty());
            out
        };
        assert_eq!(pass(&mut script, &sent, true), sent, "{size}");
        assert_eq!(pass(&mut script, &answer, false), answer, "{size}");
        assert_eq!(
            script.record(),
            [
                entry("select 1", "SELECT 1 1", "I"),
                entry("select 2", "SELECT 1 1", "I")
            ]
        );
        assert!(script.engine.is_idle());
    }
}

#[test]
fn after_an_error_in_a_pipeline_nothing_up_to_sync_has_run() {
    let mut script = Setup::default().script();
    let mut sent = parse_bind_execute("select 1");
    sent.extend(parse_bind_execute("select 2"));
    sent.extend(sync());
    sent.extend(parse_bind_execute("select 3"));
    sent.extend(sync());
    script.client(&sent);
    let mut answer = empty(tag::PARSE_COMPLETE);
    answer.extend(empty(tag::BIND_COMPLETE));
    answer.extend(error("22012"));
    answer.extend(ready(TransactionStatus::Idle));
    answer.extend(empty(tag::PARSE_COMPLETE));
    answer.extend(empty(tag::BIND_COMPLETE));
    answer.extend(complete("SELECT 0"));
    answer.extend(ready(TransactionStatus::Idle));
    script.target(&answer);
    assert_eq!(
        script.record(),
        [
            entry("select 1", "22012", "I"),
            entry("select 3", "SELECT 0 0", "I")
        ]
    );
    assert_eq!(script.engine.quota().used().queries, 2);
}

#[test]
fn messages_after_an_error_are_dropped_until_sync() {
    let mut script = Setup::default().script();
    script.client(&parse_bind_execute("select 1"));
    script.target(&error("42601"));
    assert_eq!(script.client(&query("delete from t")), b"");
    assert_eq!(tags(&script.client(&sync())), "S");
    script.target(&ready(TransactionStatus::Idle));
    assert!(script.record().is_empty());
    assert!(script.engine.is_idle());
}

#[test]
fn a_failed_parse_gives_the_name_back_to_what_it_was() {
    let mut script = Setup::default().script();
    let parse = |text: &str| made(|out| frontend::put_parse(out, b"s", text));
    let run = made(|out| {
        frontend::put_bind(out, b"", b"s");
        frontend::put_execute(out, b"");
        frontend::put_sync(out);
    });
    script.client(&[parse("select 1"), sync()].concat());
    script.target(&[empty(tag::PARSE_COMPLETE), ready(TransactionStatus::Idle)].concat());
    script.client(&[parse("select 2"), run.clone()].concat());
    script.target(&[error("42P05"), ready(TransactionStatus::Idle)].concat());
    script.client(&run);
    let answer = [
        empty(tag::BIND_COMPLETE),
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
    ];
    script.target(&answer.concat());
    assert_eq!(script.record(), [entry("select 1", "SELECT 0 0", "I")]);
}

#[test]
fn a_refused_query_is_replaced_and_so_is_its_error() {
    let setup = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let mut script = setup.script();
    let sent = [query("select 1"), query("delete from t"), query("select 2")].concat();
    let forwarded = script.client(&sent);
    assert_eq!(tags(&forwarded), "QQQ");
    assert!(!String::from_utf8_lossy(&forwarded).contains("delete"));
    let answer = [
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
        error("42601"),
        ready(TransactionStatus::Idle),
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
    ];
    let told = script.target(&answer.concat());
    assert_eq!(tags(&told), "CZEZCZ");
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("C25006") && !told.contains("42601"), "{told}");
    assert_eq!(
        script.record(),
        [
            entry("select 1", "SELECT 0 0", "I"),
            entry("delete from t", "refused 25006", "I"),
            entry("select 2", "SELECT 0 0", "I")
        ]
    );
}

#[test]
fn a_refused_parse_in_a_pipeline_keeps_the_order_of_replies() {
    let setup = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let mut script = setup.script();
    let mut sent = parse_bind_execute("select 1");
    sent.extend(parse_bind_execute("drop table t"));
    sent.extend(sync());
    let forwarded = script.client(&sent);
    assert_eq!(tags(&forwarded), "PBEPBES");
    assert!(!String::from_utf8_lossy(&forwarded).contains("drop"));
    let answer = [
        empty(tag::PARSE_COMPLETE),
        empty(tag::BIND_COMPLETE),
        complete("SELECT 0"),
        error("42601"),
        ready(TransactionStatus::Idle),
    ];
    assert_eq!(tags(&script.target(&answer.concat())), "12CEZ");
    assert_eq!(
        script.record(),
        [
            entry("select 1", "SELECT 0 0", ""),
            entry("drop table t", "refused 25006", "I")
        ]
    );
}

#[test]
fn a_target_that_accepts_a_substitute_ends_the_session() {
    let setup = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let mut script = setup.script();
    script.client(&query("delete from t"));
    let (ending, told) = script.target_ends(&complete("DELETE 1"));
    assert_eq!((ending.reason, told), ("target_protocol", Vec::new()));
}

#[test]
fn copy_in_swallows_the_sync_that_came_before_its_data() {
    let mut script = Setup::default().script();
    let mut sent = parse_bind_execute("copy t from stdin");
    sent.extend(sync());
    script.client(&sent);
    let answer = [
        empty(tag::PARSE_COMPLETE),
        empty(tag::BIND_COMPLETE),
        made(|out| backend::put_raw(out, tag::COPY_IN_RESPONSE, &[0, 0, 0])),
    ];
    script.target(&answer.concat());
    let data = made(|out| backend::put_raw(out, frontend::tag::COPY_DATA, b"1\n"));
    let done = made(|out| backend::put_empty(out, frontend::tag::COPY_DONE));
    assert_eq!(
        tags(&script.client(&[data.clone(), data, done, sync()].concat())),
        "ddcS"
    );
    script.target(&[complete("COPY 2"), ready(TransactionStatus::Idle)].concat());
    assert_eq!(script.record(), [entry("copy t from stdin", "COPY 2 2", "I")]);
    assert!(script.engine.is_idle());
}

#[test]
fn copy_data_waits_until_it_is_known_what_it_is_for() {
    let mut script = Setup::default().script();
    let data = made(|out| backend::put_raw(out, frontend::tag::COPY_DATA, b"1\n"));
    let copy = query("copy t from stdin");
    let (progress, out) = script.client_progress(&[copy.clone(), data.clone()].concat());
    assert_eq!((progress.consumed, progress.wait), (copy.len(), Some(Wait::Replies)));
    assert_eq!(tags(&out), "QH", "the target is asked for what it has to say");
    script.target(&[error("42501"), ready(TransactionStatus::Idle)].concat());
    assert_eq!(script.client(&data), b"", "the target would ignore it");
}

#[test]
fn a_client_that_sends_ahead_without_end_waits_for_replies() {
    let mut script = Setup::default().script();
    let one = made(|out| frontend::put_parse(out, b"", "select 1"));
    let (progress, out) = script.client_progress(&one.repeat(2000));
    assert_eq!(progress.wait, Some(Wait::Replies));
    assert_eq!(progress.consumed, 1024 * one.len());
    assert!(tags(&out).ends_with('H'));
    script.target(&empty(tag::PARSE_COMPLETE));
    let (progress, _) = script.client_progress(&one.repeat(2));
    assert_eq!(progress.consumed, one.len());
}

#[test]
fn a_spent_quota_refuses_the_statement_and_keeps_the_session() {
    let setup = Setup {
        queries: Some(1),
        ..Setup::default()
    };
    let mut script = setup.script();
    let forwarded = script.client(&[query("select 1"), query("select 2")].concat());
    assert!(!String::from_utf8_lossy(&forwarded).contains("select 2"));
    let answer = [
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
        error("42601"),
        ready(TransactionStatus::Idle),
    ];
    script.target(&answer.concat());
    assert_eq!(
        script.record(),
        [
            entry("select 1", "SELECT 0 0", "I"),
            entry("select 2", "refused 53400", "I")
        ]
    );
}

#[test]
fn the_row_that_exceeds_the_byte_quota_is_not_delivered() {
    let one = row(b"12345");
    let setup = Setup {
        bytes: Some(2 * one.len() as u64 + 1),
        ..Setup::default()
    };
    let mut script = setup.script();
    script.client(&query("select 1"));
    let (ending, told) = script.target_ends(&one.repeat(4));
    assert_eq!(ending.reason, "quota_spent");
    assert_eq!(told, one.repeat(2));
    assert!(script.engine.must_cancel(&ending));
    script.engine.finish(&ending, script.now);
    assert_eq!(script.record(), [entry("select 1", "unknown", "")]);
}

#[test]
fn without_room_for_the_record_a_statement_waits_and_is_then_refused() {
    let setup = Setup {
        outbox_bytes: 100,
        ..Setup::default()
    };
    let mut script = setup.script();
    let (progress, out) = script.client_progress(&query("select 1"));
    assert_eq!((progress.consumed, progress.wait), (0, Some(Wait::Room)));
    assert!(out.is_empty());
    let deadline = script.engine.next_deadline().unwrap();
    script.now.instant = deadline;
    script.client(&query("select 1"));
    let told = script.target(&[error("42601"), ready(TransactionStatus::Idle)].concat());
    assert!(String::from_utf8_lossy(&told).contains("C58030"));
    assert!(script.record().is_empty());
}

#[test]
fn what_was_forwarded_and_not_answered_is_recorded_as_unknown() {
    let mut script = Setup::default().script();
    let mut sent = parse_bind_execute("select 1");
    sent.extend(parse_bind_execute("select 2"));
    sent.extend(query("select 3; select 4"));
    script.client(&sent);
    let answer = [empty(tag::PARSE_COMPLETE), empty(tag::BIND_COMPLETE)].concat();
    script.target(&answer);
    let ending = Ending::client_gone();
    script.engine.finish(&ending, script.now);
    let unknown = |text| entry(text, "unknown", "");
    let texts = ["select 1", "select 2", "select 3", "select 4"];
    assert_eq!(script.record(), texts.map(unknown));
    assert!(matches!(script.events().last(), Some(Event::SessionEnded(_))));
}

#[test]
fn the_tripwire_ends_a_read_session() {
    let status = made(|out| {
        backend::put_parameter_status(out, b"default_transaction_read_only", b"off");
    });
    let read = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let (ending, told) = read.script().target_ends(&status);
    assert_eq!((ending.reason, told), ("read_guard", Vec::new()));
    assert_eq!(Setup::default().script().target(&status), status);
}

#[test]
fn a_suspended_portal_has_a_record_for_each_execute() {
    let mut script = Setup::default().script();
    script.client(&parse_bind_execute("select g"));
    let answer = [
        empty(tag::PARSE_COMPLETE),
        empty(tag::BIND_COMPLETE),
        row(b"1"),
        empty(tag::PORTAL_SUSPENDED),
    ];
    script.target(&answer.concat());
    assert_eq!(script.record(), [entry("select g", " 1", "")], "no Sync is due");
    script.client(&[made(|out| frontend::put_execute(out, b"")), sync()].concat());
    script.target(&[row(b"2"), complete("SELECT 1"), ready(TransactionStatus::Idle)].concat());
    assert_eq!(script.record()[1], entry("select g", "SELECT 1 1", "I"));
}

#[test]
fn garbage_of_the_client_ends_the_session() {
    let check = |bytes: &[u8]| {
        let mut script = Setup::default().script();
        let now = script.now;
        let ending = script.engine.client_bytes(bytes, now, &mut Vec::new());
        assert_eq!(ending.unwrap_err().reason, "client_protocol");
    };
    check(b"p\0\0\0\x04");
    check(b"Q\0\0\0\x05x");
    check(b"Q\0\0\0\0");
    check(b"Q\x3f\0\0\0");
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_either_side_make_the_engine_panic(
        client in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        target in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let mut script = Setup::default().script();
        let now = script.now;
        script.client(&query("select 1"));
        let _ = script.engine.client_bytes(&client, now, &mut Vec::new());
        let _ = script.engine.target_bytes(&target, now, &mut Vec::new());
        script.engine.finish(&Ending::client_gone(), now);
    }
}
