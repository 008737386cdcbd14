//! Programs people use: what they do through the proxy is what they do without it.

use std::ffi::OsStr;
use std::process::Output;

use pglens_testkit::client_program;

use crate::fake::PASSWORD;
use crate::harness::{Stack, text};

async fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Output {
    tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/lib/postgresql/15/bin:/usr/bin:/bin")
        .output()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_protocol() {
    let stack = Stack::start().await;
    let url = stack.url(PASSWORD);
    let output = run("pgbench", &["-i", "-s", "1", "-q", &url]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    for protocol in ["simple", "extended", "prepared"] {
        let output = run("pgbench", &["-M", protocol, "-c", "4", "-t", "25", &url]).await;
        let report = text(&output.stdout);
        assert!(
            report.contains("number of transactions actually processed: 100/100"),
            "{output:?}"
        );
        assert!(
            report.contains("number of failed transactions: 0"),
            "{report}"
        );
    }
    let pipeline = tempfile::NamedTempFile::new().unwrap();
    let script = "\\startpipeline\nselect 1;\nselect 2;\nselect 3;\n\\endpipeline\n";
    std::fs::write(pipeline.path(), script).unwrap();
    let path = pipeline.path().to_str().unwrap();
    let arguments = [
        "-n", "-f", path, "-M", "extended", "-c", "2", "-t", "50", &url,
    ];
    let output = run("pgbench", &arguments).await;
    assert!(
        text(&output.stdout).contains("actually processed: 100/100"),
        "{output:?}"
    );
    let updates = || {
        let statements = stack.control.statements();
        let of_tellers =
            |s: &&crate::fake::Statement| s.started.sql.starts_with("UPDATE pgbench_tellers");
        let ended = |s: &&crate::fake::Statement| {
            s.ended
                .as_ref()
                .is_some_and(|e| e.command_tag == "UPDATE 1")
        };
        let updates = statements.iter().filter(of_tellers).filter(ended).count();
        let selects = statements
            .iter()
            .filter(|s| s.started.sql == "select 2;")
            .count();
        (updates, selects)
    };
    let all = || async { updates() == (300, 100) };
    pglens_testkit::eventually(pglens_testkit::DEADLINE, all).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_through_the_proxy_is_the_dump_without_it() {
    let stack = Stack::start().await;
    let direct = stack.database.connect().await;
    direct
        .batch_execute(
            "create table t(a int primary key, b text default 'x', c bytea);
             insert into t select g, 'row ' || g, decode(md5(g::text), 'hex') from generate_series(1, 1000) g;
             create view v as select a from t; create index on t(b); comment on table t is 'it''s';",
        )
        .await
        .unwrap();
    let terms = |level: pglens_rpc::v1::AccessLevel| {
        stack
            .control
            .terms(|terms| terms.grant.access_level = level.into());
    };
    let dump = async |url: &str| {
        let output = run(client_program("pg_dump"), &[url]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
        // A random key of newer releases.
        lines.retain(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        lines
    };
    let expected = dump(&stack.database.url).await;
    assert_eq!(dump(&stack.url(PASSWORD)).await, expected);
    terms(pglens_rpc::v1::AccessLevel::Read);
    assert_eq!(dump(&stack.url(PASSWORD)).await, expected);
    stack.stop().await;
}
