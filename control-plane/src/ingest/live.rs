//! What is going on, for those who watch: connections and statements as this replica stores them. Watchers that do not
//! keep up are told how much they missed; nobody waits for them.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::seal::SealedBatch;
use super::text::bounded;

/// Events kept for watchers that lag.
const KEPT_EVENTS: usize = 1024;
/// Watchers at once.
const MAX_WATCHERS: usize = 64;
/// Of a statement's text; the whole is in the record.
const MAX_TEXT_BYTES: usize = 4096;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct LiveEvent {
    /// The name of the event in the stream.
    pub name: &'static str,
    /// Its facts.
    pub data: Arc<Value>,
}

/// The way from those who store to those who watch.
#[derive(Debug, Clone)]
pub struct Live {
    events: broadcast::Sender<LiveEvent>,
    places: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            events: broadcast::Sender::new(KEPT_EVENTS),
            places: Arc::new(Semaphore::new(MAX_WATCHERS)),
        }
    }
}

impl Live {
    /// Everything from now on, for as long as the place is held; `None` when there are too many watchers.
    #[must_use]
    pub fn watch(&self) -> Option<(broadcast::Receiver<LiveEvent>, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some((self.events.subscribe(), place))
    }

    /// How many watch.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.events.receiver_count()
    }

    /// Tells of a connection that was let in. `describe` runs only when somebody watches.
    pub fn connection_started(&self, describe: impl FnOnce() -> Value) {
        if self.events.receiver_count() > 0 {
            self.send("connection_started", describe());
        }
    }

    /// Tells of what a stored batch holds.
    pub fn stored(&self, batch: &SealedBatch) {
        if self.events.receiver_count() == 0 {
            return;
        }
        for new in &batch.statements {
            let (statement, end) = (&new.statement, new.statement.end.as_ref());
            let data = json!({
                "id": statement.id,
                "connection_id": statement.session_id,
                "user_id": new.scope.user_id,
                "database_id": new.scope.database_id,
                "grant_id": new.scope.grant_id,
                "sequence": statement.sequence,
                "sql": bounded(&statement.sql, MAX_TEXT_BYTES),
                "kind": statement.kind,
                "started_at": statement.started_at,
                "end": end.map(describe_end),
            });
            self.send("query_started", data);
        }
        for end in &batch.ends {
            let data = json!({
                "id": end.id,
                "connection_id": end.session_id,
                "end": describe_end(end),
            });
            self.send("query_ended", data);
        }
        for end in &batch.session_ends {
            let data = json!({
                "id": end.session_id,
                "ended_at": end.ended_at,
                "end_reason": end.reason,
                "sqlstate": Some(&end.sqlstate).filter(|sqlstate| !sqlstate.is_empty()),
            });
            self.send("connection_ended", data);
        }
    }

    fn send(&self, name: &'static str, data: Value) {
        // Nobody watches any more.
        let _ = self.events.send(LiveEvent {
            name,
            data: Arc::new(data),
        });
    }
}

fn describe_end(end: &super::record::StatementEnd) -> Value {
    let word = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    json!({
        "duration_us": end.duration_us,
        "row_count": end.row_count,
        "bytes_in": end.bytes_in,
        "bytes_out": end.bytes_out,
        "command_tag": word(&end.command_tag),
        "sqlstate": word(&end.sqlstate),
        "refusal": word(&end.refusal),
        "outcome_unknown": end.outcome_unknown,
    })
}
