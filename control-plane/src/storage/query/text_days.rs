//! Searches for a text day by day, in the indexes of days that are over.
//!
//! A common text fills a page within a step or two of a walk, where an index of trigrams would name every statement of the
//! day first. A rare one is the other way round: so a step is walked first, and what it found decides.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use uuid::Uuid;

use super::filter::{Order, QueryFilter};
use super::list::List;
use super::{COLUMNS, JOINS, Query, query};
use crate::storage::filter::Conditions;
use crate::storage::manager::UsedClient;
use crate::storage::partition::{day_in_id, id_range};
use crate::storage::text_index::{can_search, indexed_days};
use crate::storage::{StoreError, column};

/// A step of a walk that finds fewer than so many is followed by whole days: one in 400.
const FEW_IN_A_STEP: i64 = 50;
/// A day in which more statements have the text is walked: they would all be looked at for one page.
const MAX_OF_A_DAY: i64 = 5_000;

/// How a search for a text goes on.
pub(super) struct TextDays {
    /// Days that may be read through their text index.
    indexed: BTreeSet<NaiveDate>,
    /// As far as is known, few statements have the text.
    is_rare: bool,
}

/// The part of a day that is to be read.
pub(super) struct TextDay {
    day: NaiveDate,
    after: Uuid,
    /// Where the day ends in the order of the list.
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
        })
    }

    /// Takes note of what a step of the walk found that was `scale` times as long as the first.
    pub(super) fn step_found(&mut self, found: usize, scale: i64) {
        self.is_rare = i64::try_from(found).is_ok_and(|found| found < FEW_IN_A_STEP * scale);
    }

    /// The day to be read next, behind `after`. If there is none, the walk is to go on by a step.
    pub(super) fn next(&self, after: Option<Uuid>, order: Order) -> Option<TextDay> {
        let after = after.filter(|_| self.is_rare)?;
        let next = match order {
            Order::Newest => after.as_u128().checked_sub(1)?,
            Order::Oldest => after.as_u128().checked_add(1)?,
        };
        let day = day_in_id(Uuid::from_u128(next)).filter(|day| self.indexed.contains(day))?;
        let (first, behind) = id_range(day)?;
        let end = match order {
            Order::Newest => first,
            Order::Oldest => Uuid::from_u128(behind.as_u128().checked_sub(1)?),
        };
        Some(TextDay { day, after, end })
    }
}

impl List<'_> {
    /// The first `limit_rows` statements of what is left of `day`, and where the next part of the list begins.
    pub(super) async fn read_day(
        &self,
        client: &UsedClient,
        days: &mut TextDays,
        day: TextDay,
        limit_rows: i64,
    ) -> Result<(Vec<Query>, Option<Uuid>), StoreError> {
        let (text, conditions) = self.day_text(&day);
        let rows = client.query(&text, &conditions.parameters()).await?;
        let ids: Result<Vec<Uuid>, _> = rows.iter().map(|row| column(row, "id")).collect();
        let mut ids = ids?;
        if i64::try_from(ids.len()).is_ok_and(|found| found > MAX_OF_A_DAY) {
            days.indexed.remove(&day.day);
            return Ok((Vec::new(), Some(day.after)));
        }
        ids.sort_unstable();
        if self.order == Order::Newest {
            ids.reverse();
        }
        ids.truncate(usize::try_from(limit_rows).unwrap_or(0));
        Ok((self.read_ids(client, &ids).await?, Some(day.end)))
    }

    /// A query for the ids of all statements of the day that are listed, in no order: with one, the planner would walk
    /// the day in it, in the hope of finding a page early.
    pub(super) fn day_text(&self, day: &TextDay) -> (String, Conditions) {
        let mut conditions = Conditions::default();
        self.filter.add_to(&mut conditions);
        self.add_bounds(&mut conditions, Some(day.after), Some(day.end));
        let limit = conditions.place(MAX_OF_A_DAY + 1);
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
