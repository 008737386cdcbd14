//! What statements cost the engine of a session, without sockets: judging, attributing, recording.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::{AccessLevel, AuditLevel, GrantId, RunId, SessionId};
use pglens_policy::VerdictCache;
use pglens_wire::backend::{self, Column, TransactionStatus, tag};
use pglens_wire::frontend;
use uuid::Uuid;

use super::{ACKNOWLEDGE_EVERY, LIMITS, acknowledge, new_outbox};
use crate::audit::{Outbox, Recorder};
use crate::clock::Now;
use crate::control::allowed::Grant;
use crate::metrics::Metrics;
use crate::policy::{Judge, Quota};
use crate::session::relay::{Engine, Output, Passage};

/// How a client runs a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync.
    Extended,
    /// Bind, Describe, Execute, Sync.
    Prepared,
    /// So many times Bind, Describe, Execute, then Sync.
    Pipeline(u32),
}

/// Messages of a client and the answers of a target.
struct Script {
    client: Vec<u8>,
    target: Vec<u8>,
    statements: u64,
}

impl Script {
    fn new(protocol: Protocol) -> Self {
        let (mut client, mut target) = (Vec::new(), Vec::new());
        let repeated = match protocol {
            Protocol::Pipeline(repeated) => repeated,
            _ => 1,
        };
        for _ in 0..repeated {
            match protocol {
                Protocol::Simple => frontend::put_query(&mut client, &sql("12345")),
                Protocol::Extended => put_extended(b"", true, (&mut client, &mut target)),
                _ => put_extended(NAME, false, (&mut client, &mut target)),
            }
            put_result(&mut target);
        }
        if protocol != Protocol::Simple {
            frontend::put_sync(&mut client);
        }
        backend::put_ready_for_query(&mut target, TransactionStatus::Idle);
        Self {
            client,
            target,
            statements: u64::from(repeated),
        }
    }

    /// Prepares the statement that the others run.
    fn preparation() -> Self {
        let (mut client, mut target) = (Vec::new(), Vec::new());
        frontend::put_parse(&mut client, NAME, &sql("$1"));
        frontend::put_sync(&mut client);
        backend::put_empty(&mut target, tag::PARSE_COMPLETE);
        backend::put_ready_for_query(&mut target, TransactionStatus::Idle);
        Self {
            client,
            target,
            statements: 0,
        }
    }
}

const NAME: &[u8] = b"P0_1";

fn sql(account: &str) -> String {
    format!("SELECT abalance FROM pgbench_accounts WHERE aid = {account};")
}

fn put_extended(name: &[u8], parses: bool, (client, target): (&mut Vec<u8>, &mut Vec<u8>)) {
    if parses {
        frontend::put_parse(client, name, &sql("$1"));
        backend::put_empty(target, tag::PARSE_COMPLETE);
    }
    let bind = [b"\0", name, b"\0\0\0\0\x01\0\0\0\x0512345\0\x01\0\0"].concat();
    backend::put_raw(client, frontend::tag::BIND, &bind);
    backend::put_raw(client, frontend::tag::DESCRIBE, b"P\0");
    frontend::put_execute(client, b"");
    backend::put_empty(target, tag::BIND_COMPLETE);
}

fn put_result(target: &mut Vec<u8>) {
    let column = Column {
        name: b"abalance".to_vec(),
        table_oid: 16390,
        table_column: 3,
        type_oid: 23,
        type_modifier: -1,
        format: 0,
    };
    backend::put_row_description(target, &[column]);
    backend::put_data_row(target, &[Some(b"0")]);
    backend::put_command_complete(target, "SELECT 1");
}

/// Has one session run `statements` statements of a row each, recorded in `folder`.
///
/// # Errors
/// When the folder cannot be used, or the engine ends the session.
pub fn statements(folder: &Path, protocol: Protocol, statements: u64) -> std::io::Result<Duration> {
    let outbox = new_outbox(folder, RunId(Uuid::now_v7()))?;
    let mut engine = engine(&outbox);
    run(&mut engine, &Script::preparation())?;
    let script = Script::new(protocol);
    let begun = Instant::now();
    let (mut done, mut acknowledged) = (0, 0);
    while done < statements {
        run(&mut engine, &script)?;
        done += script.statements;
        if done >= acknowledged + ACKNOWLEDGE_EVERY {
            acknowledge(&outbox)?;
            acknowledged = done;
        }
    }
    let took = begun.elapsed();
    outbox.flush();
    acknowledge(&outbox)?;
    outbox.close()?;
    Ok(took)
}

fn engine(outbox: &Arc<Outbox>) -> Engine {
    let metrics = Metrics::new(&pglens_runtime::Metrics::new(), outbox);
    let session_id = SessionId(Uuid::now_v7());
    let outbox = Arc::clone(outbox);
    let recorder = Recorder::new(session_id, outbox, metrics, LIMITS, AuditLevel::Spooled);
    let grant = Grant {
        id: GrantId(1),
        access_level: AccessLevel::Write,
        expires_in: Duration::from_secs(3600),
        starts_at_unix_us: 0,
        expires_at_unix_us: i64::MAX,
        window: None,
        schedule: String::new(),
        max_connections: None,
        max_queries: None,
        max_bytes: None,
        block_copy: false,
        block_ddl: false,
        statement_timeout: None,
        audit_level: AuditLevel::Spooled,
    };
    Engine::new(
        Judge::new(VerdictCache::new(), &grant, None),
        recorder,
        Quota::new(None),
        Arc::default(),
        TransactionStatus::Idle,
    )
}

/// One turn of either direction, as the relay takes it.
fn run(engine: &mut Engine, script: &Script) -> std::io::Result<()> {
    let ended = |_| std::io::Error::other("the engine ended the session");
    let mut output = Output::default();
    let mut passage = Passage::new(&script.client, &mut output);
    let now = Now::read();
    engine.client_bytes(now, &mut passage).map_err(ended)?;
    engine.record(now).map_err(ended)?;
    let mut passage = Passage::new(&script.target, &mut output);
    let now = Now::read();
    engine.target_bytes(now, &mut passage).map_err(ended)?;
    engine.record(now).map_err(ended)?;
    match engine.is_idle() {
        true => Ok(()),
        false => Err(std::io::Error::other("the engine waits for more")),
    }
}
