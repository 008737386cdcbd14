//! Real clients through a wire tap: what the server's side of the wire says to each is the same with and without PgLens.

use std::path::PathBuf;

use pglens_e2e::differential::script::Errors;
use pglens_e2e::differential::{difference, normal};
use pglens_e2e::wire_tap::Tap;
use pglens_e2e::{Login, Place, Ran, Stack, StackOptions, client, program};
use pglens_testkit::client_program;

use crate::psycopg::python;
use crate::sample;

const SAMPLE: &str = include_str!("../../corpus/sample.sql");

/// What a person types, and what psql's own commands ask the catalog.
const PSQL: &str = "\\d\n\\d+ item\n\\d+ kept\n\\dT+\n\\df\n\\dn+\n\\l\n\\du\n\\dv+\nselect * from odd;\nbegin;\n\
    declare c cursor for select n from generate_series(1, 100) n;\nfetch 10 from c;\n\\set FETCH_COUNT 7\n\
    select n from generate_series(1, 20) n;\nrollback;\nselect 1/0;\nselec;\n\\copy item to stdout\n\\gdesc\n\
    select 1 as a \\gdesc\nselect 5 as x \\gset\nselect :x;\nselect $1::int \\bind 3 \\g\n";

/// A client: its name, its program, its arguments, and what it reads.
struct Client {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    stdin: &'static str,
}

impl Client {
    fn new(name: &'static str, program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        Self {
            name,
            program: program.into(),
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            stdin: "",
        }
    }

    async fn run(&self, login: &Login, node_path: &str) -> Ran {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let port = login.port.to_string();
        let environment = [
            ("PGHOST", login.host.as_str()),
            ("PGPORT", &port),
            ("PGUSER", &login.user),
            ("PGPASSWORD", &login.password),
            ("PGDATABASE", &login.database),
            ("PGSSLMODE", "disable"),
            ("PGGSSENCMODE", "disable"),
            ("NODE_PATH", node_path),
        ];
        client::run(&self.program, &arguments, &environment, self.stdin).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wire_says_the_same_to_every_client() {
    let python = python().await;
    let node_path = node_path().await;
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    place.target.execute(SAMPLE).await;
    sample::create(&place).await;
    let pgbench = client_program("pgbench");
    let pgbench = if pgbench.is_file() {
        pgbench
    } else {
        "pgbench".into()
    };
    let tables = Client::new("pgbench -i", &pgbench, &["-i", "-q", "-s", "1"]);
    let made = tables.run(place.target.login(), "").await;
    made.success("pgbench -i");

    let script = |name: &str| {
        program::workspace()
            .join("e2e")
            .join(name)
            .display()
            .to_string()
    };
    let library = |name| Client::new(name, &python, &[&script("python/clients.py"), name]);
    let load = |name, mode| {
        let arguments = [
            "-n",
            "-S",
            "-c",
            "1",
            "-t",
            "50",
            "--random-seed=7",
            "-M",
            mode,
        ];
        Client::new(name, &pgbench, &arguments)
    };
    let mut clients = vec![
        Client {
            stdin: PSQL,
            ..Client::new("psql", "psql", &["-X", "-w"])
        },
        Client::new("pg_dump", client_program("pg_dump"), &["--schema-only"]),
        Client::new(
            "pg_dump of data",
            client_program("pg_dump"),
            &["--data-only"],
        ),
        load("pgbench simple", "simple"),
        load("pgbench extended", "extended"),
        load("pgbench prepared", "prepared"),
        Client::new("psycopg", &python, &[&script("python/everything.py"), ""]),
        library("asyncpg"),
        library("sqlalchemy"),
        library("django"),
    ];
    match &node_path {
        Some(_) => clients.push(Client::new(
            "node-postgres",
            "node",
            &[&script("node/everything.js")],
        )),
        None => eprintln!("skipped: node-postgres, for there is no npm on this machine"),
    }
    let node_path = node_path.unwrap_or_default();
    let mut differing = Vec::new();
    for client in &clients {
        differing.extend(check(&place, client, &node_path).await);
    }
    let names: Vec<_> = clients.iter().map(|client| client.name).collect();
    eprintln!("compared: {}", names.join(", "));
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

async fn check(place: &Place, client: &Client, node_path: &str) -> Option<String> {
    let sample_end = place
        .target
        .value("select max(oid)::int8 + 1 from pg_class")
        .await;
    let sample_end = sample_end.parse().unwrap();
    let (_, login) = place.writer("client").await;
    let mut heard = Vec::new();
    for login in [place.target.login(), &login] {
        let tap = Tap::start(login).await;
        let ran = client.run(&tap.login(login), node_path).await;
        assert!(
            ran.code == Some(0) || client.name == "psql",
            "{}: {ran:?}",
            client.name
        );
        heard.push(tap.heard().await);
    }
    let [direct, proxied] = &heard[..] else {
        unreachable!("two logins")
    };
    if direct.is_empty() || direct.len() != proxied.len() {
        let (direct, proxied) = (direct.len(), proxied.len());
        return Some(format!(
            "=== {}: {direct} connections directly, {proxied} through the proxy",
            client.name
        ));
    }
    direct.iter().zip(proxied).find_map(|(direct, proxied)| {
        let [direct, proxied] =
            [direct, proxied].map(|answers| normal::normal(answers, sample_end));
        let difference = difference(&direct, &proxied, Errors::Whole)?;
        Some(format!("=== {}\n{difference}", client.name))
    })
}

/// The folder of Node's packages; nothing where there is no npm.
async fn node_path() -> Option<String> {
    const NO_NPM: i32 = 3;
    let script = program::workspace().join("scripts/e2e-node.sh");
    let made = tokio::process::Command::new(script).output().await.unwrap();
    if made.status.code() == Some(NO_NPM) {
        return None;
    }
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Some(String::from_utf8(made.stdout).unwrap().trim().to_owned())
}
