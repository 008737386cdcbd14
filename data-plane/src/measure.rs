//! What statements and their record cost the proxy; for `examples/`, not for programs.

mod session;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::{AuditLevel, RunId, Secret, SessionId};
use pglens_policy::LazyFingerprint;
use pglens_wire::backend::TransactionStatus;
use uuid::Uuid;

use crate::audit::capture::CaptureLimits;
use crate::audit::outbox::{Acknowledged, Next, SpoolLimits};
use crate::audit::recorder::{Follow, Outcome};
use crate::audit::window::BatchLimit;
use crate::audit::{Columns, Outbox, Recorder, StatementFacts, Text};
use crate::clock::Now;
use crate::metrics::Metrics;

pub use session::{Protocol, statements};

const SQL: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;";
/// A control plane takes what was recorded as often as that.
const ACKNOWLEDGE_EVERY: u64 = 1000;
const BATCH: BatchLimit = BatchLimit {
    records: 2 * ACKNOWLEDGE_EVERY,
    bytes: 2 * 1024 * 1024,
};
const LIMITS: CaptureLimits = CaptureLimits {
    max_rows: 1000,
    max_bytes: 1_000_000,
};

/// Records `statements` of a row each, and writes them to `folder` before they start and before they are answered.
/// `together` sessions share a write, as those do that a proxy serves in one turn.
///
/// # Errors
/// When the folder cannot be used.
pub fn record(folder: &Path, statements: u64, together: u64) -> std::io::Result<Duration> {
    let outbox = new_outbox(folder, RunId(Uuid::now_v7()))?;
    let metrics = Metrics::new(&pglens_runtime::Metrics::new(), &outbox);
    let recorder = || {
        let session_id = SessionId(Uuid::now_v7());
        let (outbox, metrics) = (Arc::clone(&outbox), Arc::clone(&metrics));
        Recorder::new(session_id, outbox, metrics, LIMITS, AuditLevel::Spooled)
    };
    let mut sessions: Vec<_> = (0..together).map(|_| recorder()).collect();
    let text: Arc<str> = SQL.into();
    let row = [b'r'; 18];
    let begun = Instant::now();
    for turn in 0..statements / together {
        for session in &mut sessions {
            start(session, &text);
        }
        written(&mut sessions)?;
        for session in &mut sessions {
            let now = Now::read();
            session.begin_row(row.len(), now);
            session.bytes_to_client(&row);
            session.can_end(Follow::No);
            session.end(Outcome::completed(b"SELECT 1"), now);
            session.ready(TransactionStatus::Idle);
        }
        written(&mut sessions)?;
        if turn % (ACKNOWLEDGE_EVERY / together) == 0 {
            acknowledge(&outbox)?;
        }
    }
    let took = begun.elapsed();
    acknowledge(&outbox)?;
    outbox.close()?;
    Ok(took)
}

fn start(session: &mut Recorder, text: &Arc<str>) {
    let said = Text {
        text: Arc::clone(text),
        range: 0..text.len(),
        kind: "SELECT",
        fingerprint: LazyFingerprint::default(),
    };
    let facts = StatementFacts::new(said, text.len() as u64);
    if let Some(place) = session.promise(facts) {
        session.start(place, Columns::default(), Now::read());
    }
}

fn written(sessions: &mut [Recorder]) -> std::io::Result<()> {
    match sessions.iter_mut().all(Recorder::flush) {
        true => Ok(()),
        false => Err(std::io::ErrorKind::StorageFull.into()),
    }
}

fn new_outbox(folder: &Path, run_id: RunId) -> std::io::Result<Arc<Outbox>> {
    let limits = SpoolLimits {
        disk_bytes: 1024 * 1024 * 1024,
        memory_bytes: 16 * 1024 * 1024,
    };
    let outbox = Outbox::create(folder, run_id, limits)?;
    let key = Secret::new(vec![7; 32]);
    outbox.unlock(run_id, &key).map_err(std::io::Error::other)?;
    Ok(outbox)
}

fn acknowledge(outbox: &Outbox) -> std::io::Result<()> {
    loop {
        let sent = outbox.committed();
        let Next::Batch(batch) = outbox.next_behind(sent, BATCH) else {
            return outbox.tidy();
        };
        let acknowledged = outbox.acknowledge(Acknowledged::stored(batch.last_sequence));
        acknowledged.map_err(std::io::Error::other)?;
    }
}
