//! What is going on, for those who watch: connections and statements as they are stored, by this replica and by others.
//! Watchers that do not keep up are told how much they missed; nobody waits for them.
//!
//! Nothing is described while nobody watches anywhere. Others' events come in through [`super::live_fleet`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use uuid::Uuid;

use super::seal::SealedBatch;
use super::text::bounded;
use crate::storage::query::Query;

/// Events kept for watchers that lag.
const KEPT_EVENTS: usize = 1024;
/// Events on their way to other replicas.
const QUEUED_EVENTS: usize = 4096;
/// Watchers at once.
const MAX_WATCHERS: usize = 64;
/// Of a statement's text; the whole is in the record.
const MAX_TEXT_BYTES: usize = 2048;
/// A replica that has watchers says so more often than this.
pub(super) const WATCHING_FOR: Duration = Duration::from_secs(15);

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveEvent {
    /// The name of the event in the stream.
    pub name: String,
    /// Where a watcher can go on: the statement that began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Its facts.
    pub data: Value,
}

impl LiveEvent {
    /// Some events did not make it; how many, where that is known.
    #[must_use]
    pub fn lagged(count: Option<u64>) -> Self {
        Self {
            name: "lagged".to_owned(),
            id: None,
            data: json!({ "count": count }),
        }
    }
}

/// The way from those who store to those who watch.
#[derive(Debug, Clone)]
pub struct Live {
    events: broadcast::Sender<LiveEvent>,
    places: Arc<Semaphore>,
    pub(super) away: Arc<Away>,
}

/// The way to the other replicas.
#[derive(Debug)]
pub(super) struct Away {
    pub(super) queue: mpsc::Sender<LiveEvent>,
    pub(super) queued: Mutex<Option<mpsc::Receiver<LiveEvent>>>,
    /// Events that the queue had no room for.
    pub(super) missed: AtomicU64,
    /// When another replica last said that somebody watches there.
    pub(super) watched: Mutex<Option<Instant>>,
    /// Somebody began to watch here.
    pub(super) began: Notify,
}

impl Default for Live {
    fn default() -> Self {
        let (queue, queued) = mpsc::channel(QUEUED_EVENTS);
        Self {
            events: broadcast::Sender::new(KEPT_EVENTS),
            places: Arc::new(Semaphore::new(MAX_WATCHERS)),
            away: Arc::new(Away {
                queue,
                queued: Mutex::new(Some(queued)),
                missed: AtomicU64::new(0),
                watched: Mutex::new(None),
                began: Notify::new(),
            }),
        }
    }
}

impl Live {
    /// Everything from now on, for as long as the place is held; `None` when there are too many watchers.
    #[must_use]
    pub fn watch(&self) -> Option<(broadcast::Receiver<LiveEvent>, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let events = self.events.subscribe();
        self.away.began.notify_one();
        Some((events, place))
    }

    /// How many watch here.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.events.receiver_count()
    }

    /// Tells of a connection that was let in. `describe` runs only when somebody watches.
    pub fn connection_started(&self, describe: impl FnOnce() -> Value) {
        if self.is_wanted() {
            self.send("connection_started", None, describe());
        }
    }

    /// Tells of what a stored batch holds.
    pub fn stored(&self, batch: &SealedBatch) {
        if !self.is_wanted() {
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
            self.send("query_started", Some(statement.id.0), data);
        }
        for end in &batch.ends {
            let data = json!({
                "id": end.id,
                "connection_id": end.session_id,
                "end": describe_end(end),
            });
            self.send("query_ended", None, data);
        }
        for end in &batch.session_ends {
            let data = json!({
                "id": end.session_id,
                "ended_at": end.ended_at,
                "end_reason": end.reason,
                "sqlstate": Some(&end.sqlstate).filter(|sqlstate| !sqlstate.is_empty()),
            });
            self.send("connection_ended", None, data);
        }
    }

    /// Hands on what happened elsewhere.
    pub(super) fn heard(&self, event: LiveEvent) {
        // Nobody watches any more.
        let _ = self.events.send(event);
    }

    fn is_wanted(&self) -> bool {
        self.events.receiver_count() > 0 || self.is_watched_elsewhere()
    }

    fn is_watched_elsewhere(&self) -> bool {
        let watched = *self.away.watched.lock();
        watched.is_some_and(|at| at.elapsed() < WATCHING_FOR)
    }

    fn send(&self, name: &str, id: Option<Uuid>, data: Value) {
        let event = LiveEvent {
            name: name.to_owned(),
            id,
            data,
        };
        if self.is_watched_elsewhere() && self.away.queue.try_send(event.clone()).is_err() {
            self.away.missed.fetch_add(1, Ordering::Relaxed);
        }
        self.heard(event);
    }
}

/// A statement of the record, as it was told when it began.
#[must_use]
pub fn stored_event(query: &Query) -> LiveEvent {
    let end = query.duration_us.map(|duration_us| {
        json!({
            "duration_us": duration_us,
            "row_count": query.row_count,
            "bytes_in": query.bytes_in,
            "bytes_out": query.bytes_out,
            "command_tag": query.command_tag,
            "sqlstate": query.sqlstate,
            "refusal": query.refusal,
            "outcome_unknown": query.outcome_unknown,
        })
    });
    let data = json!({
        "id": query.id,
        "connection_id": query.connection_id,
        "user_id": query.user_id,
        "database_id": query.database_id,
        "grant_id": query.grant_id,
        "sequence": query.sequence,
        "sql": bounded(&query.sql, MAX_TEXT_BYTES),
        "kind": query.kind,
        "started_at": query.started_at,
        "end": end,
    });
    LiveEvent {
        name: "query_started".to_owned(),
        id: Some(query.id),
        data,
    }
}

fn describe_end(end: &super::record::StatementEnd) -> Value {
    let word = |text: &ByteString| Some(text.clone()).filter(|text| !text.is_empty());
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
