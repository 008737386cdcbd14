//! The head of the queue as log records, up to what one request may hold.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use uuid::Uuid;

use super::message::{self, MAX_TEXT_BYTES};
use crate::storage::feed::{FeedEntry, FeedProgress, Queued};
use crate::storage::feed_read::{FeedStatement, FeedText};
use crate::storage::{Storage, StoreError};

/// Bytes of texts in a request, beyond which the next one begins; a single text may be as long. Collectors take 4 MiB.
const MAX_TEXTS_BYTES: i64 = 1024 * 1024;

/// What one request is made of.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) records: Vec<LogRecord>,
    /// What is off the queue with them.
    pub(super) progress: FeedProgress,
    /// Statements that retention has dropped before they were sent.
    pub(super) dropped: u64,
}

impl Gathered {
    /// Whether the queue was empty.
    pub(super) fn is_empty(&self) -> bool {
        self.progress == FeedProgress::default()
    }
}

/// Reads the first `limit` records of the queue.
pub(super) async fn gather(
    storage: &Storage,
    limit: usize,
    has_query_text: bool,
) -> Result<Gathered, StoreError> {
    let entries = storage
        .feed_read(i32::try_from(limit).unwrap_or(i32::MAX))
        .await?;
    let text = FeedText {
        is_included: has_query_text,
        max_chars: i32::try_from(MAX_TEXT_BYTES).unwrap_or(i32::MAX),
        max_total_bytes: MAX_TEXTS_BYTES,
    };
    let head = Head::of(&entries, limit);
    let statements = storage.feed_statement_list(&head.statements, text).await?;
    let connections = storage.connection_list_by_id(&head.connections).await?;
    let events = storage.audit_list_by_id(&head.events).await?;
    let known = Known {
        statements: by_id(statements, |statement| statement.id),
        connections: by_id(connections, |connection| connection.id),
        events: by_id(events, |event| event.id),
    };
    Ok(known.assemble(&entries, limit))
}

fn by_id<T, Id: std::hash::Hash + Eq>(rows: Vec<T>, id: impl Fn(&T) -> Id) -> HashMap<Id, T> {
    rows.into_iter().map(|row| (id(&row), row)).collect()
}

/// What the first records of the queue are about.
#[derive(Default)]
struct Head {
    statements: Vec<Uuid>,
    connections: Vec<Uuid>,
    events: Vec<i64>,
}

impl Head {
    fn of(entries: &[FeedEntry], limit: usize) -> Self {
        let (mut head, mut left) = (Self::default(), limit);
        // One that is queued twice is read once: the bytes of a request are counted over what is read.
        let mut seen = HashSet::new();
        for entry in entries {
            match &entry.queued {
                Queued::Statements { ids, .. } => {
                    let ids = ids.iter().take(left);
                    left -= ids.len();
                    head.statements
                        .extend(ids.copied().filter(|id| seen.insert(*id)));
                }
                Queued::SessionStarted(id) | Queued::SessionEnded(id) => {
                    head.connections.push(*id);
                    left -= 1;
                }
                Queued::AuditEvent(id) => {
                    head.events.push(*id);
                    left -= 1;
                }
            }
            if left == 0 {
                break;
            }
        }
        head
    }
}

/// What storage knows of them.
struct Known {
    statements: HashMap<Uuid, FeedStatement>,
    connections: HashMap<Uuid, crate::storage::connection::Connection>,
    events: HashMap<i64, crate::storage::audit::AuditEvent>,
}

impl Known {
    /// The records in the order of the queue, up to the first for which there is no room.
    fn assemble(&self, entries: &[FeedEntry], limit: usize) -> Gathered {
        let mut gathered = Gathered::default();
        let mut left = limit;
        for entry in entries.iter() {
            if left == 0 {
                break;
            }
            let (uid, stored) = (entry.uid, entry.queued_at);
            let record = match &entry.queued {
                Queued::Statements { ids, count } => {
                    let taken = self.statements(&mut gathered, ids, left, stored);
                    left -= taken;
                    if taken < *count {
                        if taken > 0 {
                            gathered.progress.partly = Some((entry.id, taken));
                        }
                        break;
                    }
                    gathered.progress.done.push(entry.id);
                    continue;
                }
                Queued::SessionStarted(id) => self
                    .connections
                    .get(id)
                    .map(|connection| message::session_started(connection, uid, stored)),
                Queued::SessionEnded(id) => self
                    .connections
                    .get(id)
                    .map(|connection| message::session_ended(connection, uid, stored)),
                Queued::AuditEvent(id) => self
                    .events
                    .get(id)
                    .map(|event| message::audit_event(event, uid, stored)),
            };
            left -= 1;
            gathered.dropped += u64::from(record.is_none());
            gathered.records.extend(record);
            gathered.progress.done.push(entry.id);
        }
        gathered
    }

    /// How many of `ids` are dealt with: up to `limit`, and up to the first for which there is no room.
    fn statements(
        &self,
        gathered: &mut Gathered,
        ids: &[Uuid],
        limit: usize,
        stored: DateTime<Utc>,
    ) -> usize {
        let mut taken = 0;
        for id in ids.iter().take(limit) {
            match self.statements.get(id) {
                Some(statement) if statement.is_beyond => break,
                Some(statement) => gathered.records.push(message::statement(statement, stored)),
                None => gathered.dropped += 1,
            }
            taken += 1;
        }
        taken
    }
}
