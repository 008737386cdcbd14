//! Encrypts what a batch holds of the target's data, before any of it reaches storage.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{Days, NaiveDate, Utc};
use pglens_core::QueryId;
use pglens_rpc::v1;
use prost::Message;
use uuid::Uuid;

use super::block::{BLOCK_TARGET_BYTES, MAX_PACKED_BYTES, block_id, pack};
use super::merge::{Merged, RefusedRecord, merge};
use super::record::{RowChunk, SessionEnd, Statement, StatementEnd};
use super::{Map, Scopes, encoded};
use crate::crypto::data_key::{DataKeyError, DataKeys, DayKeys};
use crate::crypto::sealed_value::{KeyPurpose, Place, Sealer};
use crate::storage::partition::day_of_id;
use crate::storage::record::{NewBlock, NewChunk, NewStatement, PackedChunk};

/// Bytes of records that are read and sealed in some hundred microseconds: the starts and ends of a few dozen statements,
/// which somebody may wait for.
const MAX_SMALL_BYTES: usize = 32 * 1024;

/// A batch without anything readable of the target's data in it, statements' texts aside.
#[derive(Debug, Default)]
pub struct SealedBatch {
    /// New rows.
    pub statements: Vec<NewStatement>,
    /// Ends whose start was stored before.
    pub ends: Vec<StatementEnd>,
    /// Captured rows.
    pub chunks: Vec<NewChunk>,
    /// Captured rows of several statements each.
    pub blocks: Vec<NewBlock>,
    /// Sessions that ended.
    pub session_ends: Vec<SessionEnd>,
    /// What cannot be stored.
    pub refused: Vec<RefusedRecord>,
}

/// Days under which values may be filed.
#[derive(Debug, Clone, Copy)]
struct Calendar {
    earliest: NaiveDate,
    today: NaiveDate,
}

impl Calendar {
    fn new(retention_days: u32) -> Self {
        let today = Utc::now().date_naive();
        let earliest = today
            .checked_sub_days(Days::new(retention_days.into()))
            .unwrap_or(NaiveDate::MIN);
        Self { earliest, today }
    }

    /// The day whose key seals a statement's values: the one in its id, so that they go with its partition. Values
    /// under an id from a clock that is far off go with today's.
    fn key_day(self, id: QueryId) -> NaiveDate {
        self.day(id).unwrap_or(self.today)
    }

    /// The day in an id, unless its clock is far off.
    fn day(self, id: QueryId) -> Option<NaiveDate> {
        day_of_id(id.0, self.earliest, self.today)
    }
}

/// How long work on a batch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Less than it takes to hand it to another thread and back.
    Small,
    /// Longer than a task may hold its thread.
    Large,
}

impl Size {
    /// Of a batch of these records.
    #[must_use]
    pub fn of(records: &[Bytes]) -> Self {
        match records.iter().map(Bytes::len).sum::<usize>() {
            ..=MAX_SMALL_BYTES => Self::Small,
            _ => Self::Large,
        }
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, DataKeyError> + Send + 'static,
    ) -> Result<T, Arc<DataKeyError>> {
        let done = match self {
            Self::Small => work(),
            // A thread that panicked is a defect.
            Self::Large => tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Arc::new(DataKeyError::Damaged))?,
        };
        done.map_err(Arc::new)
    }
}

/// Reads records, the first of which has the number `first` in its run, and merges them.
///
/// # Errors
/// When the thread for it fails, which is a defect.
pub async fn read(
    first: u64,
    records: Vec<Bytes>,
    size: Size,
) -> Result<Merged, Arc<DataKeyError>> {
    size.run(move || Ok(merge(first, records))).await
}

/// Seals the values of what was read. `scopes` has the sessions that are of the run; what names another is refused.
///
/// # Errors
/// When a key cannot be had.
pub async fn seal(
    keys: &DataKeys,
    retention_days: u32,
    scopes: Scopes,
    mut merged: Merged,
    size: Size,
) -> Result<SealedBatch, Arc<DataKeyError>> {
    let calendar = Calendar::new(retention_days);
    let mut by_day = DayKeys::new();
    for (day, purpose) in needed_keys(calendar, &merged) {
        by_day.insert((day, purpose), keys.for_sealing(day, purpose).await?);
    }
    size.run(move || {
        merged.refuse_strangers(|session_id| scopes.contains_key(&session_id));
        seal_values(calendar, &by_day, &scopes, merged)
    })
    .await
}

/// A key is of a day and for a purpose.
type WhichKey = (NaiveDate, KeyPurpose);

/// The keys under which values are to be sealed: hardly ever more than two.
fn needed_keys(calendar: Calendar, merged: &Merged) -> Vec<WhichKey> {
    let parameters = merged
        .statements
        .iter()
        .filter(|statement| !statement.parameters.is_empty())
        .map(|statement| (calendar.key_day(statement.id), KeyPurpose::Statements));
    let of_statements = merged.statements.iter().flat_map(|one| &one.rows);
    let rows = of_statements
        .chain(&merged.chunks)
        .map(|chunk| (calendar.key_day(chunk.id), KeyPurpose::Rows));
    let mut needed = Vec::new();
    for which in parameters.chain(rows) {
        if !needed.contains(&which) {
            needed.push(which);
        }
    }
    needed
}

fn seal_values(
    calendar: Calendar,
    keys: &DayKeys,
    scopes: &Scopes,
    merged: Merged,
) -> Result<SealedBatch, DataKeyError> {
    let mut sealers = Sealers::new(keys);
    let mut batch = SealedBatch {
        ends: merged.ends,
        session_ends: merged.session_ends,
        refused: merged.refused,
        ..SealedBatch::default()
    };
    let mut large = merged.chunks;
    let mut blocks = Blocks::default();
    batch.statements.reserve(merged.statements.len());
    for mut statement in merged.statements {
        // Records of sessions without a scope were refused when the batch was merged.
        let Some(scope) = scopes.get(&statement.session_id).copied() else {
            continue;
        };
        let key_day = calendar.key_day(statement.id);
        let parameters = std::mem::take(&mut statement.parameters);
        let parameters_sealed = match parameters.is_empty() {
            true => None,
            false => {
                let place = Place::Parameters(statement.id);
                Some(sealers.seal(key_day, place, &pack_parameters(parameters))?)
            }
        };
        let rows = std::mem::take(&mut statement.rows);
        let rows_block = match has_its_rows_in_a_block(calendar, &statement, &rows) {
            true => Some(blocks.add((statement.id, key_day), &rows, &mut sealers)?),
            false => {
                large.extend(rows);
                None
            }
        };
        batch.statements.push(NewStatement {
            rows_block,
            statement,
            scope,
            key_day,
            parameters_sealed,
        });
    }
    batch.blocks = blocks.close(&mut sealers)?;
    let sealed = large
        .into_iter()
        .map(|chunk| seal_chunk(calendar, chunk, &mut sealers));
    batch.chunks = sealed.collect::<Result<_, _>>()?;
    Ok(batch)
}

/// That is so of those that came whole, with little in them, under an id of a day that is.
fn has_its_rows_in_a_block(calendar: Calendar, statement: &Statement, rows: &[RowChunk]) -> bool {
    let bytes = rows.iter().map(|chunk| chunk.data.len()).sum::<usize>();
    !rows.is_empty()
        && bytes <= MAX_PACKED_BYTES
        && statement.end.is_some()
        && calendar.day(statement.id).is_some()
}

/// Blocks of rows, one under way for each day.
#[derive(Default)]
struct Blocks {
    open: Map<NaiveDate, OpenBlock>,
    closed: Vec<NewBlock>,
}

struct OpenBlock {
    id: Uuid,
    plain: Vec<u8>,
    packed: Vec<PackedChunk>,
}

impl Blocks {
    /// Adds the chunks of a statement; returns the block that has them.
    fn add(
        &mut self,
        (id, day): (QueryId, NaiveDate),
        chunks: &[RowChunk],
        sealers: &mut Sealers,
    ) -> Result<Uuid, DataKeyError> {
        let is_full = |open: &mut OpenBlock| open.plain.len() >= BLOCK_TARGET_BYTES;
        if self.open.get_mut(&day).is_some_and(is_full) {
            let full = self.open.remove(&day);
            self.closed
                .extend(full.map(|full| full.close(day, sealers)).transpose()?);
        }
        let open = self.open.entry(day).or_insert_with(|| OpenBlock {
            id: block_id(id),
            plain: Vec::new(),
            packed: Vec::new(),
        });
        for chunk in chunks {
            pack(&mut open.plain, chunk);
            open.packed.push(PackedChunk {
                record: chunk.record,
                id: chunk.id,
                session_id: chunk.session_id,
            });
        }
        Ok(open.id)
    }

    fn close(mut self, sealers: &mut Sealers) -> Result<Vec<NewBlock>, DataKeyError> {
        for (day, open) in self.open {
            self.closed.push(open.close(day, sealers)?);
        }
        Ok(self.closed)
    }
}

impl OpenBlock {
    fn close(self, day: NaiveDate, sealers: &mut Sealers) -> Result<NewBlock, DataKeyError> {
        Ok(NewBlock {
            data_sealed: sealers.seal(day, Place::Block(self.id), &self.plain)?,
            id: self.id,
            key_day: day,
            packed: self.packed,
        })
    }
}

/// One sealer for each key.
struct Sealers(Map<WhichKey, Sealer>);

impl Sealers {
    fn new(keys: &DayKeys) -> Self {
        let sealers = keys.iter().map(|(which, key)| (*which, key.sealer()));
        Self(sealers.collect())
    }

    fn seal(
        &mut self,
        day: NaiveDate,
        place: Place,
        plain: &[u8],
    ) -> Result<Vec<u8>, DataKeyError> {
        let sealer = self
            .0
            .get_mut(&(day, place.purpose()))
            .ok_or(DataKeyError::Gone { day })?;
        sealer.seal(place, plain)
    }
}

fn seal_chunk(
    calendar: Calendar,
    mut chunk: RowChunk,
    sealers: &mut Sealers,
) -> Result<NewChunk, DataKeyError> {
    let plain = std::mem::take(&mut chunk.data);
    let place = Place::Rows {
        query_id: chunk.id,
        chunk: chunk.chunk,
    };
    let key_day = calendar.key_day(chunk.id);
    Ok(NewChunk {
        data_sealed: sealers.seal(key_day, place, &plain)?,
        chunk,
        key_day,
    })
}

/// Parameters as they are kept: a `StatementStarted` message with nothing else in it.
fn pack_parameters(parameters: Vec<Bytes>) -> Vec<u8> {
    encoded::StatementStarted {
        parameters,
        ..Default::default()
    }
    .encode_to_vec()
}

/// Reads parameters as they were kept.
///
/// # Errors
/// When they are not what was kept.
pub fn decode_parameters(plain: &[u8]) -> Result<Vec<v1::Parameter>, DataKeyError> {
    v1::StatementStarted::decode(plain)
        .map(|message| message.parameters)
        .map_err(|_| DataKeyError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_read_as_they_were_kept() {
        let parameters = vec![
            v1::Parameter {
                type_oid: 25,
                format: 0,
                value: Some(b"x".to_vec()),
                value_bytes: Some(9),
                value_digest: vec![1; 32],
            },
            v1::Parameter {
                type_oid: 0,
                format: 1,
                value: None,
                ..Default::default()
            },
        ];
        let encoded = parameters.iter().map(|one| one.encode_to_vec().into());
        let kept = pack_parameters(encoded.collect());
        assert_eq!(decode_parameters(&kept).unwrap(), parameters);
        assert!(decode_parameters(b"\xff\xff").is_err());
    }
}
