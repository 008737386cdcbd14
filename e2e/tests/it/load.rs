//! Clients that run statements of which no two are the same, whatever breaks, and what they were answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pglens_e2e::Login;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Error};

/// What every statement of the load has in its text.
pub(crate) const MARKER: &str = "marker-";

/// Before the next attempt to log in.
const LOGIN_PAUSE: Duration = Duration::from_millis(50);
/// Longer than anything may take that has an answer at all: rows wait a minute for room in the record, and statements of a
/// pipeline some seconds each before that.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What a load is made of.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    pub(crate) clients: usize,
    /// Statements of a session; then it ends.
    pub(crate) statements: usize,
    /// Between two statements of a client.
    pub(crate) pause: Duration,
    /// Rows of about a kilobyte that each statement returns, besides its own.
    pub(crate) kilobytes: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            clients: 6,
            statements: 200,
            pause: Duration::ZERO,
            kilobytes: 0,
        }
    }
}

/// What clients were answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) logins: u64,
    pub(crate) statements: u64,
    /// By SQLSTATE, or "broken" when the connection ended without one.
    pub(crate) refused_logins: BTreeMap<String, u64>,
    pub(crate) failed_statements: BTreeMap<String, u64>,
    pub(crate) slowest_login: Duration,
    pub(crate) slowest_statement: Duration,
}

/// Numbers for all the statements of a load.
#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    stop: AtomicBool,
    answers: Mutex<Answers>,
}

/// A load that goes on until it is stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    /// Clients of each login.
    pub(crate) fn start(logins: &[Login], options: &LoadOptions) -> Self {
        let (shared, mut clients) = (Arc::<Shared>::default(), JoinSet::new());
        for number in 0..options.clients {
            clients.spawn(run(OneClient {
                login: logins[number % logins.len()].clone(),
                options: options.clone(),
                shared: Arc::clone(&shared),
            }));
        }
        Self { shared, clients }
    }

    /// Statements that were answered without an error, and with one, since the answers were taken for the last time.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let answers = self.shared.answers.lock().unwrap();
        (answers.statements, answers.failed_statements.values().sum())
    }

    /// What was answered since it was asked for the last time.
    pub(crate) fn take_answers(&self) -> Answers {
        std::mem::take(&mut *self.shared.answers.lock().unwrap())
    }

    /// Ends the sessions after the statement they are at.
    pub(crate) async fn stop(mut self) -> Answers {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client that is answered goes on");
        }
        self.take_answers()
    }
}

struct OneClient {
    login: Login,
    options: LoadOptions,
    shared: Arc<Shared>,
}

/// Connects again and again.
async fn run(one: OneClient) {
    while !one.stops() {
        let since = Instant::now();
        let login = tokio::time::timeout(ANSWER_LIMIT, one.login.try_connect()).await;
        let login = login.expect("a login hangs without an answer");
        let taken = since.elapsed();
        one.answered(|answers| {
            answers.slowest_login = answers.slowest_login.max(taken);
            match &login {
                Ok(_) => answers.logins += 1,
                Err(error) => *answers.refused_logins.entry(code(error)).or_default() += 1,
            }
        });
        match login {
            Ok(client) => one.session(&client).await,
            Err(_) => tokio::time::sleep(LOGIN_PAUSE).await,
        }
    }
}

impl OneClient {
    fn stops(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn answered(&self, note: impl FnOnce(&mut Answers)) {
        note(&mut self.shared.answers.lock().unwrap());
    }

    async fn session(&self, client: &Client) {
        for turn in 0..self.options.statements {
            if self.stops() || client.is_closed() {
                return;
            }
            let since = Instant::now();
            let turn = tokio::time::timeout(ANSWER_LIMIT, self.turn(client, turn)).await;
            let ran = turn.expect("a statement hangs without an answer");
            let taken = since.elapsed();
            self.answered(|answers| {
                answers.slowest_statement = answers.slowest_statement.max(taken);
                match &ran {
                    Ok(count) => answers.statements += count,
                    Err(error) => *answers.failed_statements.entry(code(error)).or_default() += 1,
                }
            });
            tokio::time::sleep(self.options.pause).await;
        }
    }

    fn text(&self) -> String {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        match self.options.kilobytes {
            0 => format!("select '{MARKER}{number:08}'"),
            rows => format!(
                "select '{MARKER}{number:08}', md5((i * {number})::text), repeat(md5(i::text), 30) \
                 from generate_series(1, {rows}) i"
            ),
        }
    }

    async fn turn(&self, client: &Client, turn: usize) -> Result<u64, Error> {
        match turn % 3 {
            0 => client.simple_query(&self.text()).await.map(|_| 1),
            1 => client.query(&self.text(), &[]).await.map(|_| 1),
            _ => self.pipeline(client).await,
        }
    }

    /// Several statements are under way at once, prepared before.
    async fn pipeline(&self, client: &Client) -> Result<u64, Error> {
        let mut prepared = Vec::new();
        for _ in 0..4 {
            prepared.push(client.prepare(&self.text()).await?);
        }
        let runs = prepared
            .iter()
            .map(|statement| client.query(statement, &[]));
        let mut count = 0;
        for ran in futures_util::future::join_all(runs).await {
            ran?;
            count += 1;
        }
        Ok(count)
    }
}

fn code(error: &Error) -> String {
    let code = error.code().map(|code| code.code().to_owned());
    code.unwrap_or_else(|| "broken".to_owned())
}
