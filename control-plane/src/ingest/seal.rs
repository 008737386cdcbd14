//! Encrypts what a batch holds of the target's data, before any of it reaches storage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{Days, NaiveDate, Utc};
use pglens_core::{QueryId, SessionId};
use pglens_rpc::v1;
use prost::Message;

use super::merge::{Merged, RefusedRecord};
use super::record::{RowChunk, SessionEnd, Statement, StatementEnd};
use crate::crypto::data_key::{DataKey, DataKeyError, DataKeys, Place};
use crate::storage::connection::SessionScope;
use crate::storage::partition::day_of_id;
use crate::storage::record::{NewChunk, NewStatement};

/// A batch without anything readable of the target's data in it, statements' texts aside.
#[derive(Debug, Default)]
pub struct SealedBatch {
    /// New rows.
    pub statements: Vec<NewStatement>,
    /// Ends whose start was stored before.
    pub ends: Vec<StatementEnd>,
    /// Captured rows.
    pub chunks: Vec<NewChunk>,
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
        day_of_id(id.0, self.earliest, self.today).unwrap_or(self.today)
    }
}

/// Seals the values of `merged`.
///
/// # Errors
/// When a key cannot be had.
pub async fn seal(
    keys: &DataKeys,
    retention_days: u32,
    scopes: HashMap<SessionId, SessionScope>,
    merged: Merged,
) -> Result<SealedBatch, Arc<DataKeyError>> {
    let calendar = Calendar::new(retention_days);
    let with_parameters = merged
        .statements
        .iter()
        .filter(|statement| !statement.parameters.is_empty());
    let ids = with_parameters.map(|statement| statement.id);
    let days: HashSet<NaiveDate> = ids
        .chain(merged.chunks.iter().map(|chunk| chunk.id))
        .map(|id| calendar.key_day(id))
        .collect();
    if days.is_empty() {
        return seal_values(calendar, &HashMap::new(), &scopes, merged).map_err(Arc::new);
    }
    let mut keys_by_day = HashMap::with_capacity(days.len());
    for day in days {
        keys_by_day.insert(day, keys.for_sealing(day).await?);
    }
    // Compressing and sealing a full batch takes longer than a task may hold its thread.
    tokio::task::spawn_blocking(move || seal_values(calendar, &keys_by_day, &scopes, merged))
        .await
        .map_err(|_| Arc::new(DataKeyError::Damaged))?
        .map_err(Arc::new)
}

fn seal_values(
    calendar: Calendar,
    keys: &HashMap<NaiveDate, Arc<DataKey>>,
    scopes: &HashMap<SessionId, SessionScope>,
    merged: Merged,
) -> Result<SealedBatch, DataKeyError> {
    let seal = |place, id, plain: &[u8]| {
        let day = calendar.key_day(id);
        let key = keys.get(&day).ok_or(DataKeyError::Gone { day })?;
        key.seal(place, plain)
    };
    let mut batch = SealedBatch {
        ends: merged.ends,
        session_ends: merged.session_ends,
        refused: merged.refused,
        ..SealedBatch::default()
    };
    for mut statement in merged.statements {
        // Records of sessions without a scope were refused when the batch was merged.
        let Some(scope) = scopes.get(&statement.session_id).copied() else {
            continue;
        };
        let parameters = std::mem::take(&mut statement.parameters);
        let parameters_sealed = match parameters.is_empty() {
            true => None,
            false => {
                let plain = encode_parameters(parameters);
                Some(seal(Place::Parameters(statement.id), statement.id, &plain)?)
            }
        };
        batch
            .statements
            .push(new_statement(calendar, statement, scope, parameters_sealed));
    }
    for mut chunk in merged.chunks {
        let plain = std::mem::take(&mut chunk.data);
        let place = Place::Rows {
            query_id: chunk.id,
            chunk: chunk.chunk,
        };
        let data_sealed = seal(place, chunk.id, &plain)?;
        batch.chunks.push(new_chunk(calendar, chunk, data_sealed));
    }
    Ok(batch)
}

fn new_statement(
    calendar: Calendar,
    statement: Statement,
    scope: SessionScope,
    parameters_sealed: Option<Vec<u8>>,
) -> NewStatement {
    let key_day = calendar.key_day(statement.id);
    NewStatement {
        statement,
        scope,
        key_day,
        parameters_sealed,
    }
}

fn new_chunk(calendar: Calendar, chunk: RowChunk, data_sealed: Vec<u8>) -> NewChunk {
    let key_day = calendar.key_day(chunk.id);
    NewChunk {
        chunk,
        key_day,
        data_sealed,
    }
}

/// Parameters as they are kept: a `StatementStarted` message with nothing else in it.
fn encode_parameters(parameters: Vec<v1::Parameter>) -> Vec<u8> {
    v1::StatementStarted {
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
            },
            v1::Parameter {
                type_oid: 0,
                format: 1,
                value: None,
            },
        ];
        assert_eq!(
            decode_parameters(&encode_parameters(parameters.clone())).unwrap(),
            parameters
        );
        assert!(decode_parameters(b"\xff\xff").is_err());
    }
}
