//! psql through the proxy against psql at the target itself.

use std::fmt::Write as _;

use nix::sys::signal::Signal;
use pglens_e2e::client::Started;
use pglens_e2e::{Person, Place, Ran, Stack, StackOptions, client, process, step};
use serde_json::json;

use crate::compare::{contains_in_order, only, record_equals_target_log};
use crate::endings::wait_for_sleepers;
use crate::sample;

/// What a reader types; every line is one that must look the same with and without PgLens.
const READER_SCRIPT: &str = include_str!("reader.psql");

const EVERY_TYPE: &str = include_str!("every_type.sql");

const MANY_ROWS: &str = "select n, md5(n::text) as hash from generate_series(1, 100000) n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_sees_what_the_target_says_and_the_record_shows_what_was_run() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    sample::create(&place).await;
    step("reader", reader(&place)).await;
    step(
        "copy in under a write grant",
        copy_in_under_a_write_grant(&place),
    )
    .await;
    step("many rows", many_rows(&place)).await;
    step("interrupted", interrupted(&place)).await;
}

/// The reader's part; also run against a fleet.
pub(crate) async fn reader(place: &Place) {
    let (person, login) = place.reader("reader").await;
    let script = format!("{READER_SCRIPT}\n{EVERY_TYPE};\n");
    let direct = place.target.login().psql(&script).await;
    let proxied = login.psql(&script).await;
    same("the reader's script", &direct, &proxied);

    let recorded = place.api.recorded(&person, 1).await;
    record_equals_target_log(place, &person, &recorded);
    contains_in_order(
        &recorded,
        &[
            (
                "select id, name, note from customers order by id limit 3",
                "SELECT 3",
                3,
                "",
            ),
            ("select 1 as one", "SELECT 1", 1, ""),
            ("select 'zwei' as two", "SELECT 1", 1, ""),
            ("select null::text as three", "SELECT 1", 1, ""),
            ("begin", "BEGIN", 0, ""),
            ("select 1 / 0", "", 0, "22012"),
            ("select 'in an aborted transaction'", "", 0, "25P02"),
            ("rollback", "ROLLBACK", 0, ""),
            ("select 'before the error'", "SELECT 1", 1, ""),
            ("select 2 / 0", "", 0, "22012"),
            (
                "copy (select id, name from customers order by id limit 20) to stdout",
                "COPY 20",
                20,
                "",
            ),
            ("select 3 as generated", "SELECT 1", 1, ""),
            ("select * from no_such_table", "", 0, "42P01"),
            ("fetch 2 from c", "FETCH 2", 2, ""),
        ],
    );
    syntax_error_under_a_read_grant(place).await;
    rows_of_every_type(place, only(&recorded, EVERY_TYPE.trim()).id.as_str()).await;
    connection_tells_who_and_where(place, &person).await;
}

/// What does not parse is refused rather than handed on, in PostgreSQL's own words.
async fn syntax_error_under_a_read_grant(place: &Place) {
    let (person, login) = place.reader("typo").await;
    let script = "selec 'a syntax error';\nselect 'and on';\n";
    let direct = place.target.login().psql_with(&["-At"], script).await;
    let proxied = login.psql_with(&["-At"], script).await;
    assert_eq!(proxied.stderr.lines().next(), direct.stderr.lines().next());
    assert_eq!((proxied.stdout, proxied.code), (direct.stdout, direct.code));
    let recorded = place.api.recorded(&person, 1).await;
    let states: Vec<_> = recorded
        .iter()
        .map(|one| (one.sqlstate.as_str(), one.refusal.is_empty()))
        .collect();
    assert_eq!(states, [("42601", false), ("", true)]);
}

/// The captured rows are what the target gave, typed.
async fn rows_of_every_type(place: &Place, query_id: &str) {
    let query = place.api.get(&format!("/api/queries/{query_id}")).await;
    let expected = json!([
        [
            1,
            -32768,
            9007199254740993_i64,
            true,
            null,
            "",
            "ünï 😀\ttab",
            "\\x00ff"
        ],
        [2, 7, 1, false, "text", "x", "y", "\\x"],
    ]);
    assert_eq!(query["result_rows"], expected, "{query}");
    let names: Vec<&str> = query["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "four", "two", "eight", "flag", "nothing", "empty", "words", "bytes"
        ]
    );
}

async fn connection_tells_who_and_where(place: &Place, person: &Person) {
    let connection = &place.api.connections(person).await[0];
    assert_eq!(connection["username"], person.name.as_str(), "{connection}");
    assert_eq!(connection["application_name"], "psql", "{connection}");
    assert!(
        connection["client_address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1"),
        "{connection}"
    );
}

async fn copy_in_under_a_write_grant(place: &Place) {
    let (person, login) = place.writer("writer").await;
    let mut script =
        String::from("create temp table taken (id integer, word text);\n\\copy taken from stdin\n");
    for n in 1..=2000 {
        writeln!(script, "{n}\tword ü {n}").unwrap();
    }
    script.push_str(
        "\\.\nselect count(*), sum(id), md5(string_agg(word, ',' order by id)) from taken;\n",
    );
    // A row that does not fit: the error names the line.
    script.push_str("copy taken from stdin;\n1\tx\nnot a number\ty\n\\.\n");
    script.push_str("do $$ begin raise notice 'heard %', 1; raise warning 'and warned'; end $$;\n");
    script.push_str("selec 'a syntax error';\nselect doubled(21);\n");
    let direct = place.target.login().psql(&script).await;
    let proxied = login.psql(&script).await;
    same("\\copy in", &direct, &proxied);

    let recorded = place.api.recorded(&person, 1).await;
    record_equals_target_log(place, &person, &recorded);
    let copies: Vec<_> = recorded
        .iter()
        .filter(|record| record.json["kind"] == "COPY")
        .collect();
    let outcomes: Vec<_> = copies
        .iter()
        .map(|copy| (copy.command_tag.as_str(), copy.sqlstate.as_str()))
        .collect();
    assert_eq!(outcomes, [("COPY 2000", ""), ("", "22P02")]);
    assert!(
        copies[0].json["bytes_in"].as_u64().unwrap() > 2000 * 10,
        "{}",
        copies[0].json
    );
}

async fn many_rows(place: &Place) {
    let (person, login) = place.reader("many").await;
    let script = format!("{MANY_ROWS};\n\\set FETCH_COUNT 999\n{MANY_ROWS} order by n desc;\n");
    let direct = place.target.login().psql_with(&["-A", "-t"], &script).await;
    let proxied = login.psql_with(&["-A", "-t"], &script).await;
    // Not assert_eq: nobody reads 200 000 lines.
    assert!(
        direct == proxied,
        "100 000 rows differ; code {:?}, stderr {}",
        proxied.code,
        proxied.stderr
    );
    assert_eq!(direct.stdout.lines().count(), 200_000);

    let recorded = place.api.recorded(&person, 1).await;
    let whole = only(&recorded, MANY_ROWS);
    assert_eq!(whole.row_count, 100_000);
    assert_eq!(whole.json["rows_truncated"], false);
    let rows = place.api.rows(&whole.id).await;
    let shown: Vec<String> = rows
        .iter()
        .map(|row| format!("{}|{}", row[0], row[1].as_str().unwrap()))
        .collect();
    let seen: Vec<&str> = direct.stdout.lines().take(100_000).collect();
    assert!(
        shown == seen,
        "{} captured rows differ from those the client saw",
        shown.len()
    );
    let fetched: i64 = recorded
        .iter()
        .filter(|record| record.sql.starts_with("FETCH"))
        .map(|record| record.row_count)
        .sum();
    assert_eq!(fetched, 100_000, "rows of the cursor");
}

/// Ctrl-C in psql.
async fn interrupted(place: &Place) {
    let (person, login) = place.writer("interrupted").await;
    let conninfo = login.conninfo();
    let arguments = ["-XAt", "-d", &conninfo, "-c", "select pg_sleep(60)"];
    let running = Started::new("psql", &arguments, &[("PGPASSWORD", &login.password)], "");
    wait_for_sleepers(place, &person, 1).await;
    process::signal(running.pid(), Signal::SIGINT);
    let ran = running.finish().await;
    assert!(
        ran.stderr
            .contains("ERROR:  canceling statement due to user request"),
        "{ran:?}"
    );
    let recorded = place.api.recorded(&person, 1).await;
    assert_eq!(
        recorded[0].summary(),
        ("select pg_sleep(60)", "", 0, "57014")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_user_of_a_fresh_stack_can_look_around() {
    let stack = Stack::start(StackOptions::default()).await;
    let (host, port) = stack.text("proxy").rsplit_once(':').unwrap();
    let demo = client::Login {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        user: stack.text("demo_user").to_owned(),
        password: stack.text("demo_password").to_owned(),
        database: stack.text("demo_database").to_owned(),
        options: String::new(),
    };
    let tables = demo.psql_with(&["-A", "-t"], "\\dt\n").await;
    let first = tables
        .success("\\dt")
        .lines()
        .next()
        .expect("the sample has tables")
        .to_owned();
    let table = first.split('|').nth(1).unwrap();
    let count = format!("select count(*) from {table}");
    let seen = demo.psql_with(&["-A", "-t", "-c", &count], "").await;
    let direct = client::run(
        "psql",
        &["-XAt", "-d", stack.text("target_url"), "-c", &count],
        &[],
        "",
    )
    .await;
    assert_eq!(
        seen.success("the demo user reads"),
        direct.success("directly")
    );
    let refused = demo
        .psql_with(&["-c", &format!("delete from {table}")], "")
        .await;
    assert_eq!(refused.code, Some(1), "a demo user reads only: {refused:?}");
}

#[track_caller]
fn same(what: &str, direct: &Ran, proxied: &Ran) {
    let pairs = [
        (&direct.stdout, &proxied.stdout),
        (&direct.stderr, &proxied.stderr),
    ];
    for (direct, proxied) in pairs {
        for (number, (one, other)) in direct.lines().zip(proxied.lines()).enumerate() {
            assert_eq!(
                one,
                other,
                "{what}: line {}; left is direct, right through the proxy",
                number + 1
            );
        }
        assert_eq!(
            direct.lines().count(),
            proxied.lines().count(),
            "{what}: lines\n{direct}\n---\n{proxied}"
        );
    }
    assert_eq!(direct.code, proxied.code, "{what}");
}
