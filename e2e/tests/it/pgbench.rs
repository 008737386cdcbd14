//! pgbench: thousands of statements of each protocol, none missing in the record and none too many.

use pglens_e2e::{Login, Stack, StackOptions, eventually};

use crate::compare::{record_equals_target_log, trimmed};

const CLIENTS: usize = 4;
const TRANSACTIONS_PER_CLIENT: usize = 60;
const TRANSACTIONS: usize = CLIENTS * TRANSACTIONS_PER_CLIENT;

/// What TPC-B runs in each transaction, by the first words.
const STATEMENTS: [&str; 7] = [
    "BEGIN",
    "UPDATE pgbench_accounts",
    "SELECT abalance",
    "UPDATE pgbench_tellers",
    "UPDATE pgbench_branches",
    "INSERT INTO pgbench_history",
    "END",
];

/// Three statements in one pipeline.
const PIPELINE: &str = "\\startpipeline\nselect 11;\nselect 12;\nselect 13;\n\\endpipeline\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_statements_are_recorded_as_pgbench_ran() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;

    let (person, login) = place.writer("initialise").await;
    pgbench(&login, &["-i", "-s", "1", "-q"]).await;
    let recorded = place.api.recorded(&person, 1).await;
    record_equals_target_log(&place, &person, &recorded);
    assert_eq!(
        place
            .target
            .value("select count(*) from pgbench_accounts")
            .await,
        "100000"
    );
    let copy = recorded
        .iter()
        .find(|record| record.command_tag == "COPY 100000");
    assert!(copy.is_some(), "the load is recorded with its rows");

    for mode in ["simple", "extended", "prepared"] {
        let (person, login) = place.writer(mode).await;
        let (clients, transactions) = (CLIENTS.to_string(), TRANSACTIONS_PER_CLIENT.to_string());
        let report = pgbench(
            &login,
            &["-n", "-M", mode, "-c", &clients, "-t", &transactions],
        )
        .await;
        let processed =
            format!("number of transactions actually processed: {TRANSACTIONS}/{TRANSACTIONS}");
        assert!(report.contains(&processed), "{mode}: {report}");

        // One connection more, in which pgbench looks at its tables first.
        let recorded = place.api.recorded(&person, CLIENTS + 1).await;
        for start in STATEMENTS {
            let count = recorded
                .iter()
                .filter(|record| record.sql.starts_with(start))
                .count();
            assert_eq!(count, TRANSACTIONS, "{mode}: records of {start}");
        }
        let failed: Vec<_> = recorded
            .iter()
            .filter(|record| !record.sqlstate.is_empty())
            .collect();
        assert!(failed.is_empty(), "{mode}: {failed:?}");
        let executed = place.target.executed(&person);
        assert_eq!(
            recorded.len(),
            executed.len(),
            "{mode}: as many as the target executed"
        );
    }
    pipeline(&place).await;
}

async fn pipeline(place: &pglens_e2e::Place) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("pipeline.sql");
    std::fs::write(&script, PIPELINE).unwrap();
    for mode in ["extended", "prepared"] {
        let (person, login) = place.reader(mode).await;
        let script = script.to_str().unwrap();
        pgbench(
            &login,
            &["-n", "-M", mode, "-c", "2", "-t", "50", "-f", script],
        )
        .await;
        let recorded = eventually("the pipelines' records", || async {
            let recorded = place
                .api
                .recorded(&person, place.api.connections(&person).await.len())
                .await;
            if recorded.is_empty() {
                Err("none".to_owned())
            } else {
                Ok(recorded)
            }
        })
        .await;
        for text in ["select 11", "select 12", "select 13"] {
            let found = recorded
                .iter()
                .filter(|record| trimmed(&record.sql) == text);
            assert_eq!(found.count(), 100, "{mode}: {text}");
        }
        assert_eq!(
            recorded.len(),
            place.target.executed(&person).len(),
            "{mode}"
        );
    }
}

async fn pgbench(login: &Login, arguments: &[&str]) -> String {
    let conninfo = login.conninfo();
    let all = [arguments, &[conninfo.as_str()]].concat();
    login
        .run("pgbench", &all, "")
        .await
        .success(&format!("pgbench {arguments:?}"))
        .to_owned()
}
