//! Storage that is read-only, slow or full, under load that no spool can hold for long: nobody waits without an answer,
//! the planes' memory stays bounded, and afterwards all that the target executed is on record, once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pglens_e2e::fleet::STORAGE_DATABASE;
use pglens_e2e::memory::MemoryWatch;
use pglens_e2e::small_disk::SmallDisk;
use pglens_e2e::{Fleet, FleetOptions, Person, program, wait};
use reqwest::Method;
use serde_json::json;

use super::{SETTLE_LIMIT, drained, single};
use crate::load::{Answers, Load, LoadOptions};
use crate::oracle::{Closed, exactly_once};

/// How long a trouble lasts, unless the person who runs the test wants longer.
const SHORT: Duration = Duration::from_secs(6);
/// Room for the tables, and for what a short test stores in them.
const DISK_MEGABYTES: u32 = 400;
/// Rows of a statement, of a kilobyte each: so that the spool is full within a second or two, and so that it is not.
const HEAVY: usize = 100;
const LIGHT: usize = 2;
const SPOOL_BYTES: u32 = 16 * 1024 * 1024;
const RECORD_BUFFER_BYTES: u32 = 4 * 1024 * 1024;
/// A build with debug assertions takes a fraction of this; what clients send and get in the time is several times more.
const MEMORY_LIMIT: u64 = 200 * 1024 * 1024;
/// Longest that what makes somebody be refused may take to do so: a statement waits five seconds for room.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);
/// The statements of a pipeline wait five seconds for room one after the other.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// One exchange with the control plane has several answers, each with a timeout of its own.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
/// Five seconds for a connection to storage, and several statements.
const API_LIMIT: Duration = Duration::from_secs(30);
const API_PAUSE: Duration = Duration::from_millis(200);

/// Every transaction that changes one of these takes a second to commit.
const SLOW: &str = "create function slow_commit() returns trigger language plpgsql as $$ begin \
       if current_setting('test.slept', true) is distinct from txid_current()::text then \
         perform set_config('test.slept', txid_current()::text, true), pg_sleep(1); \
       end if; return null; end $$";
/// What a table answers when there is no room, where no disk can be made small.
const FULL: &str = "create function disk_full() returns trigger language plpgsql as $$ begin \
       raise exception 'could not extend file' using errcode = '53100'; end $$";
const TABLES: [&str; 7] = [
    "users",
    "databases",
    "grants",
    "tokens",
    "audit_events",
    "proxy_runs",
    "connections",
];

/// A few clients whose statements return rows that fill the spool, and a few whose statements return next to nothing.
struct Work {
    person: Person,
    rows: Load,
    statements: Load,
}

/// What happens while storage is in trouble.
struct Seen {
    /// Of the clients whose statements return rows. These are held back while there is no room for them.
    rows: Answers,
    answers: Answers,
    /// Attempts to make a user, by status.
    writes: BTreeMap<u16, u64>,
}

impl Seen {
    /// Every answer is one of those that are said to be given.
    fn check(&self, name: &str) {
        let Answers {
            refused_logins,
            failed_statements,
            slowest_login,
            slowest_statement,
            ..
        } = &self.answers;
        eprintln!(
            "{name}: {:?}, rows: {:?}, writes: {:?}",
            self.answers, self.rows, self.writes
        );
        for held in [&self.rows.refused_logins, &self.rows.failed_statements] {
            let known = |code: &String| ["57P03", "58030", "broken"].contains(&code.as_str());
            assert!(held.keys().all(known), "{name}: {held:?}");
        }
        assert!(
            refused_logins.keys().all(|code| code == "57P03"),
            "{name}: {refused_logins:?}"
        );
        assert!(
            failed_statements.keys().all(|code| code == "58030"),
            "{name}: {failed_statements:?}"
        );
        assert!(*slowest_login < LOGIN_LIMIT, "{name}: {slowest_login:?}");
        assert!(
            *slowest_statement < STATEMENT_LIMIT,
            "{name}: {slowest_statement:?}"
        );
        assert!(
            self.writes.keys().all(|status| [201, 503].contains(status)),
            "{name}: {:?}",
            self.writes
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_in_trouble_loses_nothing_and_lets_nobody_wait() {
    let disk = SmallDisk::mount(DISK_MEGABYTES);
    if let Err(reason) = &disk {
        eprintln!("no small disk, a trigger stands for it: {reason}");
    }
    let disk = disk.ok();
    let fleet = Fleet::start_with(FleetOptions {
        data_settings: vec![
            ("PGL_SPOOL_MAX_BYTES", SPOOL_BYTES.to_string()),
            ("PGL_RECORD_BUFFER_BYTES", RECORD_BUFFER_BYTES.to_string()),
        ],
        storage_folder: disk.as_ref().map(SmallDisk::database),
        ..single()
    })
    .await;
    let planes = [
        fleet.data_planes[0].process.pid(),
        fleet.control_planes[0].process.pid(),
    ];
    let memory = MemoryWatch::start(&planes);
    let limit = wait::STEP_LIMIT + lasts();
    wait::step_within(limit, "read-only", read_only(&fleet)).await;
    wait::step_within(limit, "slow", slow(&fleet)).await;
    wait::step_within(limit, "full", full(&fleet, disk.as_ref())).await;
    let memory = memory.most();
    eprintln!("memory of data plane and control plane: {memory:?}");
    assert!(memory.iter().all(|most| *most < MEMORY_LIMIT), "{memory:?}");
}

async fn read_only(fleet: &Fleet) {
    let work = begin(fleet, "read_only", HEAVY).await;
    set_read_only(fleet, "set default_transaction_read_only = on").await;
    let seen = in_trouble(fleet, &work, until_refused).await;
    seen.check("read-only");
    assert!(!seen.writes.contains_key(&201), "{:?}", seen.writes);
    set_read_only(fleet, "reset default_transaction_read_only").await;
    recovered(fleet, work).await;
}

/// As after a failover: connections are new, and lead to a server that takes no writes, or to one that does.
async fn set_read_only(fleet: &Fleet, change: &str) {
    let target = &fleet.place.target;
    target
        .execute(&format!("alter database {STORAGE_DATABASE} {change}"))
        .await;
    target
        .execute(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{STORAGE_DATABASE}'"
        ))
        .await;
}

async fn slow(fleet: &Fleet) {
    let work = begin(fleet, "slow", LIGHT).await;
    storage(fleet, SLOW).await;
    for table in TABLES {
        storage(
            fleet,
            &format!(
                "create constraint trigger slow after insert or update on {table} \
                 deferrable initially deferred for each row execute function slow_commit()"
            ),
        )
        .await;
    }
    let seen = in_trouble(fleet, &work, |_| true).await;
    seen.check("slow");
    assert!(seen.answers.statements > 0, "{:?}", seen.answers);
    for table in TABLES {
        storage(fleet, &format!("drop trigger slow on {table}")).await;
    }
    storage(fleet, "drop function slow_commit()").await;
    recovered(fleet, work).await;
}

async fn full(fleet: &Fleet, disk: Option<&SmallDisk>) {
    let work = begin(fleet, "full", HEAVY).await;
    match disk {
        Some(disk) => disk.fill(),
        None => {
            storage(fleet, FULL).await;
            for table in [
                "users",
                "audit_events",
                "connections",
                "queries_default",
                "query_rows",
            ] {
                let sql = format!(
                    "create trigger full_disk before insert on {table} for each row execute function disk_full()"
                );
                storage(fleet, &sql).await;
            }
        }
    }
    let seen = in_trouble(fleet, &work, until_refused).await;
    seen.check("full");
    match disk {
        Some(disk) => disk.make_room(),
        None => storage(fleet, "drop function disk_full() cascade").await,
    }
    recovered(fleet, work).await;
}

/// Load that is at work, of somebody who does nothing else.
async fn begin(fleet: &Fleet, role: &str, kilobytes: usize) -> Work {
    let (person, login) = fleet.place.writer(role).await;
    let options = |kilobytes| LoadOptions {
        clients: 3,
        kilobytes,
        pause: Duration::from_millis(10),
        ..LoadOptions::default()
    };
    let logins = [login];
    let work = Work {
        person,
        rows: Load::start(&logins, &options(kilobytes)),
        statements: Load::start(&logins, &options(0)),
    };
    is_at_work(&work).await;
    work
}

/// Forgets what was answered until now, and waits until statements are run.
async fn is_at_work(work: &Work) {
    for load in [&work.rows, &work.statements] {
        load.take_answers();
        wait::within(SETTLE_LIMIT, "statements are run", || async {
            match load.counts() {
                (0, _) => Err(format!("{:?}", load.take_answers())),
                _ => Ok(()),
            }
        })
        .await;
        load.take_answers();
    }
}

/// How long each trouble lasts.
fn lasts() -> Duration {
    program::soak_duration().map_or(SHORT, |soak| soak / 3)
}

fn until_refused(load: &Load) -> bool {
    load.counts().1 > 0
}

/// What is answered for as long as the trouble lasts, which is until `is_seen`.
async fn in_trouble(fleet: &Fleet, work: &Work, is_seen: fn(&Load) -> bool) -> Seen {
    let begin = Instant::now();
    let lasts = lasts();
    let mut writes = BTreeMap::new();
    let mut number = 0;
    while begin.elapsed() < lasts || !is_seen(&work.statements) {
        assert!(
            begin.elapsed() < lasts + REFUSAL_LIMIT,
            "what was waited for does not happen: {:?}",
            work.statements.take_answers()
        );
        number += 1;
        let name = format!("made_in_trouble_{}_{number}", uuid::Uuid::new_v4().simple());
        let body = json!({"username": name, "password": "a long password", "is_admin": false});
        let write = fleet
            .place
            .api
            .try_send(Method::POST, "/api/users", Some(&body));
        let (status, answer) = tokio::time::timeout(API_LIMIT, write)
            .await
            .expect("the API lets nobody wait")
            .unwrap();
        if status.as_u16() == 503 {
            assert!(answer["error"].is_string(), "{answer}");
        }
        *writes.entry(status.as_u16()).or_default() += 1;
        tokio::time::sleep(API_PAUSE).await;
    }
    Seen {
        rows: work.rows.take_answers(),
        answers: work.statements.take_answers(),
        writes,
    }
}

/// Statements run again; then all is on record.
async fn recovered(fleet: &Fleet, work: Work) {
    is_at_work(&work).await;
    let (rows, statements) = (work.rows.stop(), work.statements.stop());
    tokio::join!(rows, statements);
    let person = &work.person;
    drained(fleet).await;
    let account = exactly_once(&fleet.place, person, Closed::WithStatements, SETTLE_LIMIT).await;
    eprintln!("{}: {account:?}", person.name);
    assert!(account.executed > 20, "{account:?}");
    assert_eq!(account.incomplete, 0, "{account:?}");
}

async fn storage(fleet: &Fleet, sql: &str) {
    let login = fleet.place.target.login().with_database(STORAGE_DATABASE);
    let client = login.connect().await;
    let ran = client.batch_execute(sql).await;
    ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}
