//! Looks statements up in the text indexes of spans, and fetches those that were found.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::filter::{Driver, Order, TextIs};
use super::list::List;
use super::text_spans::{MAX_FOUND, Spans, TextSpans};
use super::{COLUMNS, JOINS, Query, query};
use crate::storage::filter::Conditions;
use crate::storage::manager::UsedClient;
use crate::storage::{StoreError, column, together};

/// Spans that take longer are not worth it: a walk comes as far. It is a quarter of the time of a page, which is lost.
const LIMIT: Duration = Duration::from_millis(120);

impl List<'_> {
    /// The ids of the first `limit_rows` statements of what is left of `spans`, and where the next part of the list begins.
    pub(super) async fn find_in_spans(
        &self,
        client: &mut UsedClient,
        text_spans: &mut TextSpans,
        spans: Spans,
        limit_rows: i64,
    ) -> Result<(Vec<Uuid>, Option<Uuid>), StoreError> {
        let started = Instant::now();
        let mut ids = match self.ids_of_spans(client, &spans).await {
            Err(error) if error.is_canceled() => {
                text_spans.gave_up(&spans);
                return Ok((Vec::new(), Some(spans.after)));
            }
            found => found?,
        };
        if !text_spans.found(&spans, ids.len(), started.elapsed()) {
            return Ok((Vec::new(), Some(spans.after)));
        }
        ids.sort_unstable();
        if self.order == Order::Newest {
            ids.reverse();
        }
        ids.truncate(usize::try_from(limit_rows).unwrap_or(0));
        Ok((ids, Some(spans.end)))
    }

    async fn ids_of_spans(
        &self,
        client: &mut UsedClient,
        spans: &Spans,
    ) -> Result<Vec<Uuid>, StoreError> {
        let (text, conditions) = self.spans_text(spans);
        let parameters = conditions.parameters();
        // It ends with this, and nobody waits for that.
        let txn = client.transaction().await?;
        let limit = format!("set local statement_timeout = {}", LIMIT.as_millis());
        let limited = async { Ok(txn.batch_execute(&limit).await?) };
        let found = async { Ok(txn.query(&text, &parameters).await?) };
        let ((), rows) = together(limited, found).await?;
        rows.iter().map(|row| column(row, "id")).collect()
    }

    /// A query for the ids of all statements of the spans that are listed, in no order: with one, the planner would walk
    /// the spans in it, in the hope of finding a page early. Each span is asked for by itself: only within its own ids has
    /// an hour its index.
    pub(super) fn spans_text(&self, spans: &Spans) -> (String, Conditions) {
        let mut conditions = Conditions::default();
        if let Driver::Grants(ids) = &self.driver {
            // Together with the texts' index, that of grants leaves less to look at.
            conditions.add("q.grant_id = any($)", ids.clone());
        }
        self.filter.add_to(&mut conditions, TextIs::LookedUp);
        self.add_bounds(&mut conditions, Some(spans.after), None);
        let of_all = conditions.text();
        let mut parts = Vec::new();
        for (lowest, behind) in &spans.ids {
            let (lowest, behind) = (conditions.place(*lowest), conditions.place(*behind));
            parts.push(format!(
                "select q.id from queries q where {of_all} and q.id >= {lowest} and q.id < {behind}"
            ));
        }
        let limit = conditions.place(MAX_FOUND + 1);
        let parts = parts.join(" union all ");
        let text = format!("select q.id from ({parts}) q limit {limit}");
        (text, conditions)
    }

    /// The statements with these ids, in the order of the list, in which the ids are.
    pub(super) async fn read_ids(
        &self,
        client: &UsedClient,
        ids: &[Uuid],
    ) -> Result<Vec<Query>, StoreError> {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(Vec::new());
        };
        let direction = self.direction();
        // One by one: as a list, all of them are looked for in the partition of each. Bounds leave out whole partitions
        // before there is a plan for each.
        let text = format!(
            "select {COLUMNS} from unnest($1::uuid[]) w (id) join queries q on q.id = w.id \
                 and q.id between least($2::uuid, $3::uuid) and greatest($2, $3) {JOINS} \
             order by q.id {direction}"
        );
        let rows = client.query(&text, &[&ids, first, last]).await?;
        rows.iter().map(query).collect()
    }
}
