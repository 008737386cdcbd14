//! Lists statements so that no request reads the whole record, whatever it looks for.
//!
//! A list is read along one index, in the order of ids. Where that index alone decides what is listed, one statement
//! reads exactly the page. Where more has to be looked at (a text, a fingerprint, two things at once), the index is
//! walked in steps, and when the time is over before the page is full, the page ends there with the place to go on. A text
//! that a step hardly found is looked for in the indexes of whole days and hours, where there are any: see
//! [`super::text_spans`].

use std::time::{Duration, Instant};

use crate::storage::manager::UsedClient;
use uuid::Uuid;

use super::filter::{Driver, Order, QueryFilter, TextIs};
use super::text_spans::TextSpans;
use super::{COLUMNS, JOINS, Query, query};
use crate::storage::filter::Conditions;
use crate::storage::{Storage, StoreError, column};

/// Entries of the index that the shortest step of a walk looks at: some 5 ms. It is the first one where an index may be
/// asked afterwards.
pub(super) const STEP_ROWS: i64 = 5_000;
/// The first step of other walks, in [`STEP_ROWS`]: to find the end of a step takes its time too.
const FIRST_STEP_SCALE: i64 = 4;
/// Each step that does not fill the page is followed by one of twice the length, up to so many times [`STEP_ROWS`].
const MAX_STEP_SCALE: i64 = 16;
/// A walk that takes longer hands out what it has.
const WALK_TIME: Duration = Duration::from_millis(500);
/// The shortest step along the indexes of many grants looks at this many of each at least.
const MIN_STEP_ROWS: i64 = 125;
/// More grants than this are not merged; their statements are looked for one by one.
const MAX_MERGED_GRANTS: i64 = 200;

const GRANTS: &str = "select id from grants where ($1::bigint is null or id = $1) \
     and ($2::bigint is null or user_id = $2) and ($3::bigint is null or database_id = $3) limit $4";

/// A part of a list.
#[derive(Debug)]
pub struct QueriesFound {
    /// In the order that was asked for.
    pub rows: Vec<Query>,
    /// The search was cut short behind this id. Absent: there is no more, or the rows are as many as were asked for.
    pub searched_to: Option<Uuid>,
}

/// A list to be read.
#[derive(Debug)]
pub(super) struct List<'a> {
    pub(super) filter: &'a QueryFilter,
    pub(super) driver: Driver,
    pub(super) order: Order,
}

impl Storage {
    /// Statements behind `after`, up to `limit_rows` of them.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn query_list(
        &self,
        filter: &QueryFilter,
        order: Order,
        after: Option<Uuid>,
        limit_rows: i64,
    ) -> Result<QueriesFound, StoreError> {
        let mut client = self.client().await?;
        let grants = match filter.names_grants() {
            true => Some(grants(&client, filter).await?),
            false => None,
        };
        if grants.as_ref().is_some_and(Vec::is_empty) {
            return Ok(QueriesFound {
                rows: Vec::new(),
                searched_to: None,
            });
        }
        let few = |ids: &Vec<i64>| i64::try_from(ids.len()).is_ok_and(|n| n <= MAX_MERGED_GRANTS);
        let list = List {
            filter,
            driver: filter.driver(grants.filter(few)),
            order,
        };
        match filter.is_decided_by(&list.driver) {
            true => Ok(QueriesFound {
                rows: list.read(&client, after, None, limit_rows).await?,
                searched_to: None,
            }),
            false => list.walk(&mut client, after, limit_rows).await,
        }
    }
}

/// The grants a filter names, and one more than [`MAX_MERGED_GRANTS`] of them at most.
async fn grants(client: &UsedClient, filter: &QueryFilter) -> Result<Vec<i64>, StoreError> {
    let statement = client.prepare_cached(GRANTS).await?;
    let rows = client
        .query(
            &statement,
            &[
                &filter.grant_id.map(|id| id.0),
                &filter.user_id.map(|id| id.0),
                &filter.database_id.map(|id| id.0),
                &(MAX_MERGED_GRANTS + 1),
            ],
        )
        .await?;
    rows.iter().map(|row| column(row, "id")).collect()
}

impl List<'_> {
    async fn walk(
        &self,
        client: &mut UsedClient,
        mut after: Option<Uuid>,
        limit_rows: i64,
    ) -> Result<QueriesFound, StoreError> {
        let end = Instant::now() + WALK_TIME;
        let mut text_spans = TextSpans::of(client, self).await?;
        let mut rows: Vec<Query> = Vec::new();
        // Of statements behind those, which are fetched together: what that costs is asking.
        let mut ids: Vec<Uuid> = Vec::new();
        let mut scale = match text_spans.is_empty() {
            true => FIRST_STEP_SCALE,
            false => 1,
        };
        loop {
            let listed = i64::try_from(rows.len() + ids.len()).unwrap_or(i64::MAX);
            let missing = limit_rows.saturating_sub(listed);
            let (found, boundary) = match text_spans.next(after, self.order, missing) {
                Some(spans) => {
                    let (found, boundary) = self
                        .find_in_spans(client, &mut text_spans, spans, missing)
                        .await?;
                    ids.extend(&found);
                    (found.len(), boundary)
                }
                None => {
                    rows.extend(self.read_ids(client, &std::mem::take(&mut ids)).await?);
                    let boundary = self.step_end(client, after, scale).await?;
                    let boundary = text_spans.stop(after, self.order, boundary);
                    let step = self.read(client, after, boundary, missing).await?;
                    text_spans.step_found(step.len(), scale);
                    scale = (scale * 2).min(MAX_STEP_SCALE);
                    let found = step.len();
                    rows.extend(step);
                    (found, boundary)
                }
            };
            let is_full = i64::try_from(found).is_ok_and(|found| found >= missing);
            after = boundary.filter(|_| !is_full);
            if after.is_none() || Instant::now() >= end {
                rows.extend(self.read_ids(client, &ids).await?);
                return Ok(QueriesFound {
                    rows,
                    searched_to: after,
                });
            }
        }
    }

    /// The id at which a step that begins behind `after` ends; `None`: the index ends before.
    async fn step_end(
        &self,
        client: &UsedClient,
        after: Option<Uuid>,
        scale: i64,
    ) -> Result<Option<Uuid>, StoreError> {
        let (text, conditions) = self.step_end_text(after, scale);
        let statement = client.prepare(&text).await?;
        let row = client
            .query_opt(&statement, &conditions.parameters())
            .await?;
        row.map(|row| column(&row, "id")).transpose()
    }

    /// The first rows behind `after`, not beyond `boundary`.
    async fn read(
        &self,
        client: &UsedClient,
        after: Option<Uuid>,
        boundary: Option<Uuid>,
        limit_rows: i64,
    ) -> Result<Vec<Query>, StoreError> {
        let (text, conditions) = self.read_text(after, boundary, limit_rows);
        // Not kept prepared: a plan for any value is none for a record that is cut into days.
        let statement = client.prepare(&text).await?;
        let rows = client.query(&statement, &conditions.parameters()).await?;
        rows.iter().map(query).collect()
    }

    pub(super) fn step_end_text(&self, after: Option<Uuid>, scale: i64) -> (String, Conditions) {
        let mut conditions = Conditions::default();
        self.driver.add_to(&mut conditions);
        self.add_bounds(&mut conditions, after, None);
        let step_rows = self.step_rows() * scale;
        let limit = conditions.place(step_rows + 1);
        let source = self.source("q.id", &mut conditions, &limit);
        let offset = conditions.place(step_rows);
        let text = format!("select q.id from ({source}) q offset {offset} limit 1");
        (text, conditions)
    }

    pub(super) fn read_text(
        &self,
        after: Option<Uuid>,
        boundary: Option<Uuid>,
        limit_rows: i64,
    ) -> (String, Conditions) {
        let mut conditions = Conditions::default();
        self.driver.add_to(&mut conditions);
        self.filter.add_to(&mut conditions, TextIs::Read);
        self.add_bounds(&mut conditions, after, boundary);
        let limit = conditions.place(limit_rows);
        let source = self.source("q.*", &mut conditions, &limit);
        let direction = self.direction();
        let text = format!("select {COLUMNS} from ({source}) q {JOINS} order by q.id {direction}");
        (text, conditions)
    }

    pub(super) fn add_bounds(
        &self,
        conditions: &mut Conditions,
        after: Option<Uuid>,
        boundary: Option<Uuid>,
    ) {
        let (low, high) = self.filter.bounds();
        conditions.add_some("q.id >= $", low);
        conditions.add_some("q.id < $", high);
        match self.order {
            Order::Newest => {
                conditions.add_some("q.id < $", after);
                conditions.add_some("q.id >= $", boundary);
            }
            Order::Oldest => {
                conditions.add_some("q.id > $", after);
                conditions.add_some("q.id <= $", boundary);
            }
        }
    }

    /// A query for the first `limit` statements that meet the conditions, in order.
    fn source(&self, columns: &str, conditions: &mut Conditions, limit: &str) -> String {
        let direction = self.direction();
        let one = format!(
            "select {columns} from queries q where {} order by q.id {direction} limit {limit}",
            conditions.text()
        );
        match &self.driver {
            Driver::Grants(ids) if ids.len() > 1 => {
                let ids = conditions.place(ids.clone());
                format!(
                    "select q.* from unnest({ids}::bigint[]) g (id) cross join lateral ({one}) q \
                     order by q.id {direction} limit {limit}"
                )
            }
            _ => one,
        }
    }

    /// Every grant's index is read this far to find the end of a step in all of them.
    fn step_rows(&self) -> i64 {
        match &self.driver {
            Driver::Grants(ids) => {
                let grants = i64::try_from(ids.len()).unwrap_or(i64::MAX).max(1);
                (STEP_ROWS / grants).max(MIN_STEP_ROWS)
            }
            _ => STEP_ROWS,
        }
    }

    pub(super) fn direction(&self) -> &'static str {
        match self.order {
            Order::Newest => "desc",
            Order::Oldest => "asc",
        }
    }
}
