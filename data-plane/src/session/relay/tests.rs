//! The engine driven by byte scripts: what goes on to either side, and what is recorded.

use std::sync::Arc;

use pglens_core::{AccessLevel, AuditLevel, GrantId, SessionId};
use pglens_policy::VerdictCache;
use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use pglens_wire::backend::{self, Report, Severity, TransactionStatus, tag};
use pglens_wire::frame::Header;
use pglens_wire::frontend;
use uuid::Uuid;

use super::engine::{Progress, Wait};
use super::output::{Output, Passage};
use super::{Ending, Engine};
use crate::audit::Recorder;
use crate::audit::capture::CaptureLimits;
use crate::audit::outbox::tests::TestOutbox;
use crate::clock::Now;
use crate::control::allowed::Grant;
use crate::metrics::Metrics;
use crate::policy::catalogs::CatalogView;
use crate::policy::{Judge, Quota};
use crate::upstream::CancelKey;

mod attribution;
mod commit;
mod copy_in;
mod large_bind;
mod refusals;
mod study;

struct Script {
    engine: Engine,
    outbox: TestOutbox,
    now: Now,
}

struct Setup {
    level: AccessLevel,
    queries: Option<u64>,
    bytes: Option<u64>,
    outbox_bytes: u64,
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
        let outbox = TestOutbox::new(self.outbox_bytes);
        let metrics = Metrics::new(&pglens_runtime::Metrics::new(), &outbox);
        let session_id = SessionId(Uuid::from_u128(7));
        let limits = CaptureLimits {
            max_rows: 1000,
            max_bytes: 1_000_000,
        };
        let recorder = Recorder::new(
            session_id,
            Arc::clone(&outbox),
            metrics,
            limits,
            AuditLevel::Spooled,
        );
        let grant = Grant {
            id: GrantId(1),
            access_level: self.level,
            expires_in: std::time::Duration::from_secs(60),
            starts_at_unix_us: 0,
            expires_at_unix_us: 60_000_000,
            window: None,
            schedule: String::new(),
            max_connections: None,
            max_queries: self.queries,
            max_bytes: self.bytes,
            block_copy: false,
            block_ddl: false,
            statement_timeout: None,
            audit_level: AuditLevel::Spooled,
        };
        let slice = v1::QuotaSlice {
            queries: self.queries,
            bytes: self.bytes,
            queries_spent: true,
            bytes_spent: true,
            ..Default::default()
        };
        let now = Now {
            unix_us: 1_000_000,
            ..Now::read()
        };
        let max = (self.queries, self.bytes);
        let quota = Quota::shared(session_id.to_wire(), grant.id, max, &slice, now.instant);
        let target = CancelKey::for_tests(1).target;
        let catalog = (self.level == AccessLevel::Read).then(|| CatalogView::for_tests(target));
        let engine = Engine::new(
            Judge::new(VerdictCache::new(), &grant, catalog),
            recorder,
            Quota::new(quota),
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

/// How far a direction got with what it was given.
#[derive(Debug)]
struct Got {
    consumed: usize,
    wait: Option<Wait>,
    out: Vec<u8>,
}

impl Script {
    /// One look of the engine at bytes of a side; what goes on is appended to `out` in any case.
    fn look(&mut self, from_client: bool, bytes: &[u8], out: &mut Vec<u8>) -> Result<Got, Ending> {
        let mut output = Output::default();
        let mut passage = Passage::new(bytes, &mut output);
        let decided = match from_client {
            true => loop {
                let decided = self.engine.client_bytes(self.now, &mut passage);
                match self.engine.question() {
                    Some(question) => self.engine.answered(question.answer()),
                    None => break decided,
                }
            },
            false => self.engine.target_bytes(self.now, &mut passage),
        };
        let consumed = passage.consumed();
        passage.into_output();
        out.extend_from_slice(output.pending());
        decided.map(|Progress { wait, .. }| Got {
            consumed,
            wait,
            out: out.clone(),
        })
    }

    /// The client sends; returns what the target gets.
    fn client(&mut self, bytes: &[u8]) -> Vec<u8> {
        let got = self.client_progress(bytes);
        assert_eq!((got.consumed, got.wait), (bytes.len(), None));
        got.out
    }

    fn client_progress(&mut self, bytes: &[u8]) -> Got {
        self.look(true, bytes, &mut Vec::new()).unwrap()
    }

    fn client_ends(&mut self, bytes: &[u8]) -> Ending {
        self.look(true, bytes, &mut Vec::new()).unwrap_err()
    }

    /// The target sends; returns what the client gets.
    fn target(&mut self, bytes: &[u8]) -> Vec<u8> {
        let got = self.look(false, bytes, &mut Vec::new()).unwrap();
        assert_eq!((got.consumed, got.wait), (bytes.len(), None));
        got.out
    }

    fn target_ends(&mut self, bytes: &[u8]) -> (Ending, Vec<u8>) {
        let mut out = Vec::new();
        let ending = self.look(false, bytes, &mut out).unwrap_err();
        (ending, out)
    }

    fn events(&self) -> Vec<Event> {
        self.outbox
            .records()
            .into_iter()
            .map(|r| r.event.unwrap())
            .collect()
    }

    /// What start and end of each statement say, in order.
    fn fingerprints(&self) -> Vec<(String, String)> {
        let mut said = Vec::new();
        for event in self.events() {
            match event {
                Event::StatementStarted(start) => said.push((start.fingerprint, String::new())),
                Event::StatementEnded(end) => said.last_mut().unwrap().1 = end.fingerprint,
                _ => {}
            }
        }
        said
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
