//! Searches for texts read the indexes of what is over, whatever state those are in.

use chrono::NaiveTime;

use super::*;
use crate::storage::query::text_spans::TextSpans;
use crate::storage::text_index::{TextIndexes, indexed_spans};
use crate::storage::text_span::TextSpan;

/// So many days ago, at a time of day.
fn at(days_ago: u64, hour: u32, minute: u32) -> DateTime<Utc> {
    let time = NaiveTime::from_hms_opt(hour, minute, 0).unwrap();
    (day(days_ago).and_time(time)).and_utc()
}

fn day(days_ago: u64) -> NaiveDate {
    Utc::now().date_naive() - Days::new(days_ago)
}

fn hours(days_ago: u64, hours: impl Iterator<Item = u32>) -> Vec<TextSpan> {
    let day = day(days_ago);
    hours.map(|hour| TextSpan::hour(day, hour)).collect()
}

fn newest(filter: &QueryFilter, grants: Option<Vec<i64>>) -> List<'_> {
    List {
        filter,
        driver: filter.driver(grants),
        order: Order::Newest,
    }
}

impl Record {
    async fn build(&self, now: DateTime<Utc>) -> Vec<TextSpan> {
        match self.storage.text_index_build(now).await.unwrap() {
            TextIndexes::Built(spans) => spans,
            other => panic!("{other:?}"),
        }
    }

    async fn indexed(&self) -> Vec<TextSpan> {
        let client = self.storage.client().await.unwrap();
        indexed_spans(&client).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        let client = self.storage.client().await.unwrap();
        client.batch_execute(sql).await.unwrap();
    }

    /// Statements that began every 0.8 seconds after `from`.
    async fn insert(&self, sql: &str, statements: u32, from: DateTime<Utc>) {
        self.run(&format!(
            "insert into queries (id, connection_id, user_id, database_id, grant_id, sequence, sql, kind, key_day, started_at) \
             select (lpad(to_hex({from_ms} + 800 * n), 12, '0') || '70008000000000000000')::uuid, connection_id, user_id, \
                 database_id, grant_id, 1, '{sql}', 'SELECT', key_day, to_timestamp(({from_ms} + 800 * n) / 1000.0) \
             from (select * from queries limit 1) q, generate_series(1::bigint, {statements}) n",
            from_ms = from.timestamp_millis()
        ))
        .await;
    }

    /// The plan of the first look into an index behind `after`, as PostgreSQL ran it.
    async fn plan_of_spans(
        &self,
        filter: &QueryFilter,
        grants: Option<Vec<i64>>,
        after: DateTime<Utc>,
    ) -> Value {
        let list = newest(filter, grants);
        let client = self.storage.client().await.unwrap();
        let mut text_spans = TextSpans::of(&client, &list).await.unwrap();
        text_spans.step_found(0, 1);
        let spans = text_spans
            .next(first_id(after), Order::Newest, 101)
            .unwrap();
        let (text, conditions) = list.spans_text(&spans);
        let explain = format!("explain (analyze, format json) {text}");
        let row = client.query_one(&explain, &conditions.parameters()).await;
        let plan: Value = row.unwrap().get(0);
        plan[0]["Plan"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_text_is_looked_for_in_the_indexes_of_days_that_are_over() {
    let record = Record::new().await;
    let now = at(0, 0, 10);
    let built = record.build(now).await;
    assert!(u64::try_from(built.len()).unwrap() >= DAYS);
    assert_eq!(built.first(), Some(&TextSpan::day(day(1))));
    assert_eq!(record.build(now).await, []);

    let nowhere = of(|f| f.text = some("nowhere to be found"));
    let plan = record.plan_of_spans(&nowhere, None, at(0, 0, 0)).await;
    assert!(rows_looked_at(&plan) < 10.0, "{plan:#}");

    let mut client = record.storage.client().await.unwrap();
    let mut text_spans = TextSpans::of(&client, &newest(&nowhere, None))
        .await
        .unwrap();
    let midnight = first_id(at(0, 0, 0));
    assert!(
        text_spans.next(midnight, Order::Newest, 101).is_none(),
        "a step of the walk comes first"
    );
    text_spans.step_found(0, 1);
    let spans = text_spans.next(midnight, Order::Newest, 101).unwrap();
    text_spans.step_found(STATEMENTS_OF_A_DAY, 1);
    assert!(
        text_spans.next(midnight, Order::Newest, 101).is_none(),
        "a common text is walked"
    );
    let common = of(|f| f.text = some("SELECT"));
    let list = List {
        filter: &common,
        driver: Driver::All,
        order: Order::Newest,
    };
    let read = list
        .find_in_spans(&mut client, &mut text_spans, spans, 101)
        .await;
    let (ids, next) = read.unwrap();
    assert_eq!((ids.len(), next), (0, midnight), "too many to look at");
    text_spans.step_found(0, 1);
    assert!(
        text_spans.next(midnight, Order::Newest, 101).is_none(),
        "the day is walked"
    );

    let mut text_spans = TextSpans::of(&client, &list).await.unwrap();
    text_spans.step_found(0, 1);
    let spans = text_spans.next(midnight, Order::Newest, 101).unwrap();
    let other = record.storage.client().await.unwrap();
    let lock = format!("begin; lock queries_{}", day(1).format("%Y%m%d"));
    other.batch_execute(&lock).await.unwrap();
    let read = list
        .find_in_spans(&mut client, &mut text_spans, spans, 101)
        .await;
    assert_eq!(read.unwrap(), (vec![], midnight), "it takes too long");
    assert!(
        text_spans.next(midnight, Order::Newest, 101).is_none(),
        "the rest is walked"
    );
    other.batch_execute("rollback").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_of_the_day_at_hand_have_indexes_until_the_day_has_its_own() {
    let record = Record::new().await;
    // So many that to read them all costs more than to ask.
    record
        .insert("select a busy hour", 4000, at(1, 17, 0))
        .await;
    let built = record.build(at(1, 18, 4)).await;
    let of_hours = hours(1, (0..17).rev());
    assert_eq!(
        built.get(..17),
        Some(of_hours.as_slice()),
        "those before 17:59"
    );
    assert_eq!(built.get(17), Some(&TextSpan::day(day(2))));
    assert_eq!(record.build(at(1, 18, 6)).await, hours(1, 17..18));
    let indexed = record.indexed().await;
    assert!(hours(1, 0..18).iter().all(|hour| indexed.contains(hour)));
    assert!(!indexed.contains(&TextSpan::day(day(1))));

    let nowhere = of(|f| f.text = some("nowhere to be found"));
    let plan = record.plan_of_spans(&nowhere, None, at(1, 18, 0)).await;
    let index = format!("queries_{}_text_17", day(1).format("%Y%m%d"));
    assert!(plan.to_string().contains(&index), "{plan:#}");
    assert!(rows_looked_at(&plan) < 10.0, "{plan:#}");
    check_lists(&record, Utc::now()).await;

    record.insert("late to be found", 1, at(1, 1, 30)).await;
    let late = of(|f| f.text = some("late to be found"));
    for order in [Order::Newest, Order::Oldest] {
        assert_eq!(record.read_all(&late, order).await.len(), 1, "{order:?}");
    }

    assert_eq!(record.build(at(0, 0, 6)).await, [TextSpan::day(day(1))]);
    let of_hours = "select count(*) from pg_class where relname ~ '_text_[0-9]+$'";
    assert_eq!(record.ids(of_hours).await, [0], "they are dropped");
    assert!(record.indexed().await.contains(&TextSpan::day(day(1))));
    for order in [Order::Newest, Order::Oldest] {
        assert_eq!(record.read_all(&late, order).await.len(), 1, "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_refused_or_half_made_is_made_later() {
    let record = Record::new().await;
    let now = at(0, 0, 10);
    let (yesterday, before) = (TextSpan::day(day(1)), TextSpan::day(day(2)));
    let name = yesterday.index_name(&format!("queries_{}", day(1).format("%Y%m%d")));
    record.run(&format!("create table {name} ()")).await;
    record.storage.text_index_build(now).await.unwrap_err();
    let indexed = record.indexed().await;
    assert!(indexed.contains(&before) && !indexed.contains(&yesterday));
    record.run(&format!("drop table {name}")).await;
    record.build(now).await;
    let halve = async |name: &str| {
        let text = "update pg_index set indisvalid = false where indexrelid = ";
        record.run(&format!("{text}'{name}'::regclass")).await;
    };
    halve(&name).await;
    assert!(!record.indexed().await.contains(&yesterday));
    assert_eq!(record.build(now).await, [yesterday]);
    assert!(record.indexed().await.contains(&yesterday));

    // As if it were not over yet.
    record.run(&format!("drop index {name}")).await;
    let of_hours = record.build(at(1, 3, 10)).await;
    assert_eq!(of_hours, hours(1, (0..3).rev()));
    halve(&format!("{name}_01")).await;
    let whole = |indexed: &[TextSpan]| {
        of_hours
            .iter()
            .filter(|hour| indexed.contains(hour))
            .count()
    };
    assert_eq!(whole(&record.indexed().await), 2);
    assert_eq!(record.build(at(1, 3, 10)).await, hours(1, 1..2));
    assert_eq!(whole(&record.indexed().await), 3);
}
