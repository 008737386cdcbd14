//! What a batch adds to the sums of what ran, by minute, user, database and fingerprint.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use pglens_core::QueryId;

use super::Map;
use super::record::StatementEnd;
use crate::storage::record::{Begun, NewStatement};
use crate::storage::stats::Delta;

/// Fingerprints of a batch that are kept apart; the rest is summed up without one. More would make a batch of statements
/// that are all different as long as its statements.
const MAX_FINGERPRINTS: usize = 128;

/// The sums of a batch: of the statements that begin in it, with their ends if those are in it as well, and of the ends
/// of statements that were counted when they began.
#[must_use]
pub fn sums<'a>(
    statements: &[&NewStatement],
    ends: impl IntoIterator<Item = (&'a StatementEnd, &'a Begun)>,
) -> Vec<Delta> {
    let mut sums = Sums::default();
    for NewStatement {
        statement, scope, ..
    } in statements
    {
        let delta = sums.of(
            (scope.user_id.0, scope.database_id.0),
            statement.started_at,
            &statement.fingerprint,
            statement.id,
        );
        delta.statements += 1;
        if let Some(end) = &statement.end {
            add_end(delta, end);
        }
    }
    for (end, begun) in ends {
        let whose = (begun.user_id, begun.database_id);
        let delta = sums.of(whose, begun.started_at, &begun.fingerprint, end.id);
        add_end(delta, end);
        // When it began it was counted without one.
        if !end.fingerprint.is_empty() {
            delta.statements += 1;
            sums.of(whose, begun.started_at, "", end.id).statements -= 1;
        }
    }
    let mut deltas: Vec<Delta> = sums.0.into_values().collect();
    deltas.sort_by_key(|delta| std::cmp::Reverse(delta.statements));
    fold_rest(&mut deltas);
    deltas
}

/// By minute, user, database and fingerprint.
#[derive(Default)]
struct Sums<'a>(Map<(DateTime<Utc>, i64, i64, &'a str), Delta>);

impl<'a> Sums<'a> {
    fn of(
        &mut self,
        (user_id, database_id): (i64, i64),
        started_at: DateTime<Utc>,
        fingerprint: &'a str,
        example: QueryId,
    ) -> &mut Delta {
        let minute = minute_of(started_at);
        let key = (minute, user_id, database_id, fingerprint);
        self.0.entry(key).or_insert_with(|| Delta {
            minute,
            user_id,
            database_id,
            fingerprint: fingerprint.to_owned(),
            example: example.0,
            ..Delta::default()
        })
    }
}

fn add_end(delta: &mut Delta, end: &StatementEnd) {
    let refused = !end.refusal.is_empty();
    delta.refusals += i64::from(refused);
    delta.errors += i64::from(!refused && !end.sqlstate.is_empty());
    delta.rows = delta.rows.saturating_add(end.row_count);
    delta.bytes_in = delta.bytes_in.saturating_add(end.bytes_in);
    delta.bytes_out = delta.bytes_out.saturating_add(end.bytes_out);
    delta.duration_us = delta.duration_us.saturating_add(end.duration_us);
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
