//! Searches for a text in the indexes of days that are over.
//!
//! A common text fills a page within a step or two of a walk, where an index of trigrams would name every statement of the
//! day first. A rare one is the other way round: so a step is walked first, and what it found decides.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use uuid::Uuid;

use super::filter::{Order, QueryFilter, TextIs};
use super::list::List;
use super::{COLUMNS, JOINS, Query, query};
use crate::storage::filter::Conditions;
use crate::storage::manager::UsedClient;
use crate::storage::partition::{day_in_id, id_range};
use crate::storage::text_index::{can_search, indexed_days};
use crate::storage::{StoreError, column};

/// A step of a walk that finds fewer than so many is followed by whole days: one in 400.
const FEW_IN_A_STEP: i64 = 50;
/// Of one answer. A day in which more statements have the text is walked: they would all be looked at for one page.
const MAX_FOUND: i64 = 5_000;
/// Days with few such statements are followed by twice as many at once, up to so many: most of what a day costs is asking.
const MAX_AT_ONCE: usize = 16;

/// How a search for a text goes on.
pub(super) struct TextDays {
    /// Days that may be read through their text index.
    indexed: BTreeSet<NaiveDate>,
    /// As far as is known, few statements have the text.
    is_rare: bool,
    /// Days to be read next, if that many follow one another.
    at_once: usize,
}

/// Days that are to be read at once, as far as they are behind `after`.
pub(super) struct Days {
    first: NaiveDate,
    /// In the order of the list; often the first.
    last: NaiveDate,
    after: Uuid,
    /// Where the last ends in the order of the list.
    end: Uuid,
}

impl TextDays {
    /// All days that have an index, if `filter` has a text that it can be asked for.
    pub(super) async fn of(client: &UsedClient, filter: &QueryFilter) -> Result<Self, StoreError> {
        let indexed = match filter.text.as_deref().is_some_and(can_search) {
            true => indexed_days(client).await?,
            false => BTreeSet::new(),
        };
        Ok(Self {
            indexed,
            is_rare: false,
            at_once: 1,
        })
    }

    /// Takes note of what a step of the walk found that was `scale` times as long as the first.
    pub(super) fn step_found(&mut self, found: usize, scale: i64) {
        self.is_rare = i64::try_from(found).is_ok_and(|found| found < FEW_IN_A_STEP * scale);
    }

    /// The days to be read next, behind `after`. If there are none, the walk is to go on by a step.
    pub(super) fn next(&self, after: Option<Uuid>, order: Order) -> Option<Days> {
        let after = after.filter(|_| self.is_rare)?;
        let next = next_id(after, order)?;
        let is_indexed = |day: &NaiveDate| self.indexed.contains(day);
        let first = day_in_id(next).filter(is_indexed)?;
        let following = std::iter::successors(Some(first), |day| match order {
            Order::Newest => day.pred_opt(),
            Order::Oldest => day.succ_opt(),
        });
        let last = following.take(self.at_once).take_while(is_indexed).last()?;
        let (lowest, behind) = id_range(last)?;
        let end = match order {
            Order::Newest => lowest,
            Order::Oldest => Uuid::from_u128(behind.as_u128().checked_sub(1)?),
        };
        Some(Days {
            first,
            last,
            after,
            end,
        })
    }

    /// Where a step that begins behind `after` and would end at `boundary` is to end: not beyond a day that is read through
    /// its index afterwards.
    pub(super) fn stop(
        &self,
        after: Option<Uuid>,
        order: Order,
        boundary: Option<Uuid>,
    ) -> Option<Uuid> {
        let boundary = boundary?;
        let edge = after
            .filter(|_| self.is_rare)
            .and_then(|after| self.edge_behind(after, order));
        Some(match (edge, order) {
            (Some(edge), Order::Newest) => boundary.max(edge),
            (Some(edge), Order::Oldest) => boundary.min(edge),
            (None, _) => boundary,
        })
    }

    /// The last id of the day that is behind `after`, if the day behind that one is indexed.
    fn edge_behind(&self, after: Uuid, order: Order) -> Option<Uuid> {
        let day = day_in_id(next_id(after, order)?)?;
        let (lowest, behind) = id_range(day)?;
        let (edge, following) = match order {
            Order::Newest => (lowest, day.pred_opt()?),
            Order::Oldest => (
                Uuid::from_u128(behind.as_u128().checked_sub(1)?),
                day.succ_opt()?,
            ),
        };
        self.indexed.contains(&following).then_some(edge)
    }

    /// Takes note of how many statements of `days` have the text; `false`: too many to look at them all.
    fn found(&mut self, days: &Days, found: usize) -> bool {
        let is_few = i64::try_from(found).is_ok_and(|found| found <= MAX_FOUND);
        if is_few {
            self.at_once = (self.at_once * 2).min(MAX_AT_ONCE);
            return true;
        }
        if days.first == days.last {
            self.indexed.remove(&days.first);
        }
        self.at_once = 1;
        false
    }
}

fn next_id(after: Uuid, order: Order) -> Option<Uuid> {
    let id = after.as_u128();
    let next = match order {
        Order::Newest => id.checked_sub(1),
        Order::Oldest => id.checked_add(1),
    };
    next.map(Uuid::from_u128)
}

impl List<'_> {
    /// The first `limit_rows` statements of what is left of `days`, and where the next part of the list begins.
    pub(super) async fn read_days(
        &self,
        client: &UsedClient,
        text_days: &mut TextDays,
        days: Days,
        limit_rows: i64,
    ) -> Result<(Vec<Query>, Option<Uuid>), StoreError> {
        let (text, conditions) = self.days_text(&days);
        let rows = client.query(&text, &conditions.parameters()).await?;
        let ids: Result<Vec<Uuid>, _> = rows.iter().map(|row| column(row, "id")).collect();
        let mut ids = ids?;
        if !text_days.found(&days, ids.len()) {
            return Ok((Vec::new(), Some(days.after)));
        }
        ids.sort_unstable();
        if self.order == Order::Newest {
            ids.reverse();
        }
        ids.truncate(usize::try_from(limit_rows).unwrap_or(0));
        Ok((self.read_ids(client, &ids).await?, Some(days.end)))
    }

    /// A query for the ids of all statements of the days that are listed, in no order: with one, the planner would walk
    /// the days in it, in the hope of finding a page early.
    pub(super) fn days_text(&self, days: &Days) -> (String, Conditions) {
        let mut conditions = Conditions::default();
        self.filter.add_to(&mut conditions, TextIs::LookedUp);
        self.add_bounds(&mut conditions, Some(days.after), Some(days.end));
        let limit = conditions.place(MAX_FOUND + 1);
        let text = format!(
            "select q.id from queries q where {} limit {limit}",
            conditions.text()
        );
        (text, conditions)
    }

    async fn read_ids(&self, client: &UsedClient, ids: &[Uuid]) -> Result<Vec<Query>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let direction = self.direction();
        let text = format!(
            "select {COLUMNS} from queries q {JOINS} where q.id = any($1) order by q.id {direction}"
        );
        let rows = client.query(&text, &[&ids]).await?;
        rows.iter().map(query).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: usize = 3;
    const MANY: usize = 5_001;

    fn day(number: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, number).unwrap()
    }

    fn days(indexed: impl IntoIterator<Item = u32>) -> TextDays {
        TextDays {
            indexed: indexed.into_iter().map(day).collect(),
            is_rare: true,
            at_once: 1,
        }
    }

    /// First and last of the days that are read one after the other behind the beginning of the 20th.
    fn read(
        text_days: &mut TextDays,
        order: Order,
        found: &[usize],
    ) -> Vec<(NaiveDate, NaiveDate)> {
        let mut after = id_range(day(20)).map(|(first, _)| first);
        let mut read = Vec::new();
        for found in found {
            let Some(days) = text_days.next(after, order) else {
                break;
            };
            read.push((days.first, days.last));
            if text_days.found(&days, *found) {
                after = Some(days.end);
            }
        }
        read
    }

    #[test]
    fn days_with_little_in_them_are_read_together() {
        let mut newest = days([10, 11, 12, 14, 15, 16, 17, 18, 19]);
        let expected = [(19, 19), (18, 17), (16, 14)].map(|(first, last)| (day(first), day(last)));
        assert_eq!(
            read(&mut newest, Order::Newest, &[FEW; 5]),
            expected,
            "13 is walked"
        );
        let mut oldest = days(20..=31);
        let expected = [(20, 20), (21, 22), (23, 26), (27, 31)];
        let expected = expected.map(|(first, last)| (day(first), day(last)));
        assert_eq!(read(&mut oldest, Order::Oldest, &[FEW; 5]), expected);
    }

    #[test]
    fn a_step_ends_where_a_day_with_an_index_begins() {
        let mut text_days = days([10, 11, 20]);
        let (twelfth, behind) = id_range(day(12)).unwrap();
        let (ninth, _) = id_range(day(9)).unwrap();
        let newest =
            |text_days: &TextDays, boundary| text_days.stop(Some(behind), Order::Newest, boundary);
        assert_eq!(newest(&text_days, Some(ninth)), Some(twelfth));
        assert_eq!(newest(&text_days, Some(behind)), Some(behind), "before it");
        assert_eq!(newest(&text_days, None), None, "the list ends before");
        let (nineteenth, last) = id_range(day(19)).unwrap();
        let last = Uuid::from_u128(last.as_u128() - 1);
        let oldest = |boundary| text_days.stop(Some(nineteenth), Order::Oldest, Some(boundary));
        assert_eq!(oldest(id_range(day(25)).unwrap().0), Some(last));
        text_days.is_rare = false;
        assert_eq!(newest(&text_days, Some(ninth)), Some(ninth), "it is walked");
    }

    #[test]
    fn days_with_much_in_them_are_read_alone_and_then_walked() {
        let mut text_days = days(10..=19);
        let found = [FEW, MANY, MANY];
        let expected = [(19, 19), (18, 17), (18, 18)].map(|(first, last)| (day(first), day(last)));
        assert_eq!(read(&mut text_days, Order::Newest, &found), expected);
        assert!(!text_days.indexed.contains(&day(18)) && text_days.indexed.contains(&day(17)));
    }
}
