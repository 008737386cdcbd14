//! What a batch adds to the sums of what ran, by minute, user, database and fingerprint.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::Map;
use crate::storage::record::NewStatement;
use crate::storage::stats::Delta;

/// Fingerprints of a batch that are kept apart; the rest is summed up without one. More would make a batch of statements
/// that are all different as long as its statements.
const MAX_FINGERPRINTS: usize = 128;

/// The sums of statements that begin in a batch. Those that end in it as well are summed up whole; the ends of others are
/// summed up by storage, which knows them.
#[must_use]
pub fn sums(statements: &[&NewStatement]) -> Vec<Delta> {
    let mut sums: Map<(DateTime<Utc>, i64, i64, &str), Delta> = Map::default();
    for new in statements {
        let statement = &new.statement;
        let (user_id, database_id) = (new.scope.user_id.0, new.scope.database_id.0);
        let minute = minute_of(statement.started_at);
        let key = (minute, user_id, database_id, &*statement.fingerprint);
        let delta = sums.entry(key).or_insert_with(|| Delta {
            minute,
            user_id,
            database_id,
            fingerprint: statement.fingerprint.to_string(),
            example: statement.id.0,
            ..Delta::default()
        });
        delta.statements += 1;
        if let Some(end) = &statement.end {
            let refused = !end.refusal.is_empty();
            delta.refusals += i64::from(refused);
            delta.errors += i64::from(!refused && !end.sqlstate.is_empty());
            delta.rows = delta.rows.saturating_add(end.row_count);
            delta.bytes_in = delta.bytes_in.saturating_add(end.bytes_in);
            delta.bytes_out = delta.bytes_out.saturating_add(end.bytes_out);
            delta.duration_us = delta.duration_us.saturating_add(end.duration_us);
        }
    }
    let mut deltas: Vec<Delta> = sums.into_values().collect();
    deltas.sort_by_key(|delta| std::cmp::Reverse(delta.statements));
    fold_rest(&mut deltas);
    deltas
}

/// Adds up those beyond [`MAX_FINGERPRINTS`] by minute, user and database.
fn fold_rest(deltas: &mut Vec<Delta>) {
    if deltas.len() <= MAX_FINGERPRINTS {
        return;
    }
    let mut rest: Map<(DateTime<Utc>, i64, i64), Delta> = Map::default();
    for delta in deltas.drain(MAX_FINGERPRINTS..) {
        let key = (delta.minute, delta.user_id, delta.database_id);
        match rest.get_mut(&key) {
            Some(sum) => sum.add(&delta),
            None => {
                let fingerprint = String::new();
                rest.insert(
                    key,
                    Delta {
                        fingerprint,
                        ..delta
                    },
                );
            }
        }
    }
    deltas.extend(rest.into_values());
}

fn minute_of(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::minutes(1)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_fingerprints_are_summed_up_without_one() {
        let mut deltas: Vec<Delta> = (0..MAX_FINGERPRINTS + 50)
            .map(|number| Delta {
                fingerprint: number.to_string(),
                statements: 2,
                rows: 3,
                ..Delta::default()
            })
            .collect();
        fold_rest(&mut deltas);
        assert_eq!(deltas.len(), MAX_FINGERPRINTS + 1);
        let rest = deltas.last().unwrap();
        assert_eq!(
            (rest.fingerprint.as_str(), rest.statements, rest.rows),
            ("", 100, 150)
        );
    }
}
