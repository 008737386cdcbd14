//! What the attacks of the corpus do where nothing guards: each is run on the server itself, and its proof must show it.
//! A proof that shows nothing would find the guard good whatever it lets through.

use std::time::{Duration, Instant};

use pglens_e2e::raw::Answer;
use pglens_e2e::{Login, Stack, StackOptions};
use pglens_testkit::corpus::{Case, read};
use pglens_testkit::{DEADLINE, eventually};
use tokio_postgres::Client;

use super::corpus::{Corpus, DATABASE, READ_ATTACKS, Sessions};

/// What the corpus' database is made of again.
const TEMPLATE: &str = "corpus_template";

/// How long after an attack its effect may come.
const LATE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The rows of `target.sql`.
const REFILL: &str = "insert into public.t select n, n, 'row ' || n, array[n] from generate_series(1, 5) n \
     on conflict (id) do nothing";

/// What attacks make besides, in the whole server.
const ELSEWHERE: [&str; 9] = [
    "select 'create role bystander' where to_regrole('bystander') is null",
    "select 'comment on role bystander is null'",
    "select format('revoke %s from %s', roleid::regrole, member::regrole) from pg_auth_members where roleid >= 16384 or member >= 16384",
    "select format('drop owned by %I', rolname) from pg_roles where rolname ~ '^made'",
    "select format('drop role %I', rolname) from pg_roles where rolname ~ '^made'",
    "select format('drop database %I with (force)', datname) from pg_database where datname ~ '^attacked'",
    "select format('select pg_drop_replication_slot(%L)', slot_name) from pg_replication_slots",
    "select format('select pg_replication_origin_drop(%L)', roname) from pg_replication_origin",
    "select 'alter system reset all'",
];

/// The corpus' database on a server that is nobody else's, as it was or as attacks have left it.
struct Unguarded<'a> {
    corpus: &'a mut Corpus,
    administrator: Client,
    login: Login,
}

/// An attack after which its proof is what it was.
struct Unseen {
    proof: String,
    answers: Vec<Answer>,
}

impl<'a> Unguarded<'a> {
    async fn new(corpus: &'a mut Corpus) -> Self {
        let login = corpus.superuser.clone();
        let administrator = login.with_database("postgres").connect().await;
        let mut this = Self {
            corpus,
            administrator,
            login,
        };
        this.corpus.direct = this.login.with_database("postgres").connect().await;
        this.is_left().await;
        let keep = format!("alter database {DATABASE} rename to {TEMPLATE}");
        this.run(&keep).await;
        this.renew().await;
        this
    }

    async fn run(&self, sql: &str) {
        let done = self.administrator.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    async fn renew(&mut self) {
        self.run(&format!("drop database if exists {DATABASE} with (force)"))
            .await;
        for query in ELSEWHERE {
            let rows = self.administrator.query(query, &[]).await.expect(query);
            for row in rows {
                self.run(row.get(0)).await;
            }
        }
        self.run(&format!("create database {DATABASE} template {TEMPLATE}"))
            .await;
        self.connect().await;
    }

    /// A proof that waits for what an attack has locked will not come.
    async fn connect(&mut self) {
        self.corpus.direct = self.login.connect().await;
        let set = self
            .corpus
            .direct
            .batch_execute("set lock_timeout = '500ms'");
        set.await.expect("lock_timeout");
    }

    /// Waits until no session but the one that is asked for proofs is in the database: locks go with them.
    async fn is_left(&self) {
        let others = format!(
            "select count(*) from pg_stat_activity \
             where datname = '{DATABASE}' and backend_type = 'client backend' and pid <> $1"
        );
        let own = self.corpus.direct.query_one("select pg_backend_pid()", &[]);
        let own: i32 = own.await.expect("the connection for proofs").get(0);
        eventually(DEADLINE, || async {
            let row = self.administrator.query_one(&others, &[&own]).await;
            row.expect("pg_stat_activity").get::<_, i64>(0) == 0
        })
        .await;
    }

    /// The proof before the attack. Rows that others took away are put back; where that is not possible, the database is
    /// renewed.
    async fn before(&mut self, case: &Case) -> String {
        let is_whole = self.corpus.direct.execute(REFILL, &[]).await.is_ok();
        if let Ok(before) = self.corpus.try_proof(case).await
            && is_whole
        {
            return before;
        }
        self.renew().await;
        self.corpus.try_proof(case).await.expect("a proof")
    }

    /// Runs the attack. That there is no proof any more shows it as well.
    async fn run_once(&mut self, case: &Case) -> Result<(), Unseen> {
        let proof = self.before(case).await;
        let (answers, after) = {
            let mut sessions = Sessions::new(self.corpus, self.login.clone());
            sessions.try_run(case).await
        };
        if self.corpus.direct.is_closed() {
            self.connect().await;
        }
        self.is_left().await;
        match after {
            Ok(after) if after == proof => Err(Unseen { proof, answers }),
            _ => Ok(()),
        }
    }

    /// The same, and once more in a database that no other attack has changed, should the one at hand show nothing.
    async fn shows(&mut self, case: &Case) -> Result<(), Unseen> {
        if self.run_once(case).await.is_ok() {
            return Ok(());
        }
        self.renew().await;
        match self.run_once(case).await {
            Err(unseen) if !self.shows_later(case, &unseen.proof).await => Err(unseen),
            _ => Ok(()),
        }
    }

    /// Whether the proof changes when another process has done what it was told: read its settings again, or, up to
    /// PostgreSQL 14, kept a statistic.
    async fn shows_later(&self, case: &Case, before: &str) -> bool {
        let deadline = Instant::now() + LATE;
        while Instant::now() < deadline {
            let now = self.corpus.try_proof(case).await;
            if !now.is_ok_and(|now| now == before) {
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_has_an_effect_where_nothing_guards() {
    let stack = Stack::start(StackOptions::default()).await;
    let mut corpus = Corpus::start(&stack).await;
    let mut server = Unguarded::new(&mut corpus).await;
    let cases = read(READ_ATTACKS);
    let shown = cases.iter().filter(|case| case.unshown.is_none());
    let mut without = Vec::new();
    let mut count = 0;
    for case in shown {
        count += 1;
        if let Err(unseen) = server.shows(case).await {
            without.push(format!("{}\n    {:?}", case.line, unseen.answers));
        }
    }
    eprintln!("{count} attacks, {} without an effect", without.len());
    assert!(without.is_empty(), "{}", without.join("\n"));
}
