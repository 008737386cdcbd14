//! No filter reads the whole record: the plan of each, over a record of many days.

mod texts;

use serde_json::Value;

use super::filter::{Driver, MANY_ROWS, Order, QueryFilter, SLOW_US};
use super::list::List;
use super::*;
use crate::storage::partition::KeptFrom;
use crate::storage::{Dsn, Storage, migrate};
use chrono::{Days, TimeDelta};
use pglens_core::{DatabaseId, GrantId, SessionId, UserId};
use pglens_testkit::TestPostgres;

/// The record that `bench/reading.py` fills with ten million statements, in small.
const FILL: &str = include_str!("../../../../bench/reading.sql");
const STATEMENTS: i64 = 66_000;
const DAYS: u64 = 12;
const STATEMENTS_OF_A_DAY: usize = 5_500;
/// A page, and the rest that joins and index descents look at in each partition. A full scan looks at [`STATEMENTS`].
const FEW_ROWS: f64 = 3000.0;

struct Record {
    storage: Storage,
    _server: TestPostgres,
}

impl Record {
    async fn new() -> Self {
        let server = TestPostgres::start(&[]).await;
        let database = server.create_database().await;
        let storage = Storage::connect(Dsn::parse(&database.url).unwrap(), 2)
            .await
            .unwrap();
        migrate::migrate(&storage).await.unwrap();
        let today = Utc::now().date_naive();
        let first = today - Days::new(DAYS);
        storage
            .partition_keep(first, today + Days::new(1), KeptFrom::all(first))
            .await
            .unwrap();
        // Until midnight: with whole days, the hour of a test has no part in its plans.
        let fill = FILL
            .replace("now()", "date_trunc('day', now(), 'UTC')")
            .replace(":statements", &STATEMENTS.to_string())
            .replace(":days", &DAYS.to_string());
        let client = database.connect().await;
        client.batch_execute(&fill).await.unwrap();
        Self {
            storage,
            _server: server,
        }
    }

    async fn id(&self, text: &str) -> Uuid {
        let client = self.storage.client().await.unwrap();
        client.query_one(text, &[]).await.unwrap().get(0)
    }

    async fn ids(&self, text: &str) -> Vec<i64> {
        let client = self.storage.client().await.unwrap();
        let rows = client.query(text, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Every page of a list.
    async fn read_all(&self, filter: &QueryFilter, order: Order) -> Vec<Uuid> {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let list = self.storage.query_list(filter, order, after, 500);
            let found = list.await.unwrap();
            seen.extend(found.rows.iter().map(|query| query.id));
            after = match found.searched_to {
                Some(id) => Some(id),
                None if found.rows.len() == 500 => found.rows.last().map(|query| query.id),
                None => return seen,
            };
        }
    }

    /// The plan of a list's page as PostgreSQL ran it, and that of the step before it.
    async fn check(&self, what: &str, filter: &QueryFilter, grants: Option<Vec<i64>>) -> Driver {
        for order in [Order::Newest, Order::Oldest] {
            let list = List {
                filter,
                driver: filter.driver(grants.clone()),
                order,
            };
            let client = self.storage.client().await.unwrap();
            let (text, conditions) = list.step_end_text(None, 1);
            let row = client.query_opt(&text, &conditions.parameters()).await;
            // Where the index does not decide, a page looks at no more than a step of it.
            let boundary = match filter.is_decided_by(&list.driver) {
                true => None,
                false => row.unwrap().map(|row| row.get(0)),
            };
            let (text, conditions) = list.read_text(None, boundary, 101);
            let explain = format!("explain (analyze, format json) {text}");
            let row = client.query_one(&explain, &conditions.parameters()).await;
            let plan: Value = row.unwrap().get(0);
            let plan = &plan[0]["Plan"];
            let looked_at = rows_looked_at(plan);
            let most = match (filter.is_decided_by(&list.driver), &list.driver) {
                (false, _) => FEW_ROWS + 25_000.0,
                // So few are sorted rather than merged: all that are listed, and no others.
                (true, Driver::Grants(ids)) => {
                    FEW_ROWS + 500.0 * f64::from(u32::try_from(ids.len()).unwrap())
                }
                (true, _) => FEW_ROWS,
            };
            assert!(
                looked_at <= most,
                "{what}, {order:?}: looked at {looked_at} rows\n{plan:#}"
            );
            assert!(
                !filter.is_decided_by(&list.driver) || !has_full_scan(plan),
                "{what}, {order:?}: reads a whole day\n{plan:#}"
            );
        }
        filter.driver(grants)
    }
}

fn number(plan: &Value, name: &str) -> f64 {
    plan[name].as_f64().unwrap_or(0.0)
}

fn children(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["Plans"].as_array().into_iter().flatten()
}

/// Rows of the record that were read, filtered ones included.
fn rows_looked_at(plan: &Value) -> f64 {
    let of_record = plan["Relation Name"]
        .as_str()
        .is_some_and(|name| name.starts_with("queries"));
    let own = number(plan, "Actual Rows") + number(plan, "Rows Removed by Filter");
    let own = if of_record {
        own * number(plan, "Actual Loops")
    } else {
        0.0
    };
    own + children(plan).map(rows_looked_at).sum::<f64>()
}

/// A sequential scan of a day that has statements. Empty days may be scanned; a step of a walk is several days here.
fn has_full_scan(plan: &Value) -> bool {
    let of_record = plan["Relation Name"]
        .as_str()
        .is_some_and(|name| name.starts_with("queries"));
    let scans = plan["Node Type"] == "Seq Scan"
        && number(plan, "Actual Rows") + number(plan, "Rows Removed by Filter") > 0.0;
    (of_record && scans) || children(plan).any(has_full_scan)
}

fn of(change: impl FnOnce(&mut QueryFilter)) -> QueryFilter {
    let mut filter = QueryFilter::default();
    change(&mut filter);
    filter
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_filter_reads_the_whole_record() {
    let record = Record::new().await;
    let one = "select connection_id from queries order by id offset 100 limit 1";
    let connection_id = Some(SessionId(record.id(one).await));
    let user = Some(record.ids("select id from grants where user_id = 7").await);
    let database = "select id from grants where database_id = 2";
    let database = Some(record.ids(database).await);
    assert!(user.iter().chain(&database).all(|grants| grants.len() > 1));
    let now = Utc::now();
    let of_user = |filter: &mut QueryFilter| filter.user_id = Some(UserId(7));
    let slow = |filter: &mut QueryFilter| filter.min_duration_us = Some(SLOW_US);
    for (what, filter, grants) in [
        ("nothing", of(|_| {}), None),
        ("connection", of(|f| f.connection_id = connection_id), None),
        ("user", of(of_user), user.clone()),
        (
            "database",
            of(|f| f.database_id = Some(DatabaseId(2))),
            database,
        ),
        (
            "grant",
            of(|f| f.grant_id = Some(GrantId(3))),
            Some(vec![3]),
        ),
        ("sqlstate", of(|f| f.sqlstate = some("42P01")), None),
        ("rare sqlstate", of(|f| f.sqlstate = some("57014")), None),
        ("refused", of(|f| f.refused = Some(true)), None),
        ("not refused", of(|f| f.refused = Some(false)), None),
        ("slow", of(slow), None),
        (
            "very slow",
            of(|f| f.min_duration_us = Some(60 * SLOW_US)),
            None,
        ),
        (
            "not so slow",
            of(|f| f.min_duration_us = Some(50_000)),
            None,
        ),
        ("large", of(|f| f.min_rows = Some(MANY_ROWS)), None),
        ("some rows", of(|f| f.min_rows = Some(10)), None),
        ("common text", of(|f| f.text = some("SELECT")), None),
        (
            "text nowhere",
            of(|f| f.text = some("nowhere to be found")),
            None,
        ),
        (
            "fingerprint",
            of(|f| f.fingerprint = some("f0000000000000ff")),
            None,
        ),
        (
            "a day",
            of(|f| {
                f.from = Some(now - TimeDelta::days(3));
                f.to = Some(now - TimeDelta::days(2));
            }),
            None,
        ),
        (
            "user and slow",
            of(|f| {
                of_user(f);
                slow(f);
            }),
            user,
        ),
    ] {
        record.check(what, &filter, grants).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_find_what_a_full_scan_finds() {
    let record = Record::new().await;
    check_lists(&record, Utc::now()).await;
    record.storage.text_index_build(Utc::now()).await.unwrap();
    check_lists(&record, Utc::now()).await;
}

async fn check_lists(record: &Record, now: DateTime<Utc>) {
    for (filter, condition) in [
        (of(|f| f.user_id = Some(UserId(7))), "user_id = 7"),
        (
            of(|f| (f.user_id, f.database_id) = (Some(UserId(7)), Some(DatabaseId(3)))),
            "user_id = 7 and database_id = 3",
        ),
        (
            of(|f| (f.database_id, f.refused) = (Some(DatabaseId(2)), Some(true))),
            "database_id = 2 and refusal <> ''",
        ),
        (of(|f| f.sqlstate = some("57014")), "sqlstate = '57014'"),
        (
            of(|f| f.fingerprint = some("f0000000000000ff")),
            "fingerprint = 'f0000000000000ff'",
        ),
        (
            of(|f| (f.text, f.min_rows) = (some("T_45 where"), Some(40))),
            "sql like '%t\\_45 where%' and row_count >= 40",
        ),
        // Rare, common to some users, and in every statement.
        (
            of(|f| f.text = some("t_45 WHERE")),
            "sql like '%t\\_45 where%'",
        ),
        (
            of(|f| (f.text, f.user_id) = (some("t_45 WHERE"), Some(UserId(7)))),
            "sql like '%t\\_45 where%' and user_id = 7",
        ),
        (
            of(|f| {
                f.text = some("SELECT");
                f.from = Some(now - TimeDelta::hours(30));
                f.to = Some(now - TimeDelta::hours(20));
            }),
            "started_at >= now() - interval '30 hours' and started_at < now() - interval '20 hours'",
        ),
        (
            of(|f| f.min_duration_us = Some(150_000)),
            "duration_us >= 150000",
        ),
        (
            of(|f| {
                f.from = Some(now - TimeDelta::days(3));
                f.to = Some(now - TimeDelta::hours(71));
            }),
            "started_at >= now() - interval '3 days' and started_at < now() - interval '71 hours'",
        ),
    ] {
        let count = format!("select count(*) from queries where {condition}");
        let expected = record.ids(&count).await[0];
        for order in [Order::Newest, Order::Oldest] {
            let seen = record.read_all(&filter, order).await;
            let mut sorted = seen.clone();
            sorted.sort();
            sorted.dedup();
            if order == Order::Newest {
                sorted.reverse();
            }
            assert_eq!(sorted, seen, "{condition}: once, in order");
            let found = i64::try_from(seen.len()).unwrap();
            // Times go on while the two are asked for.
            assert!(
                (found - expected).abs() <= 1 && found > 0,
                "{condition}: {found}, not {expected}"
            );
        }
    }
}
