//! The corpora of `shared/policy/tests/corpus`, run through a proxy against a real server: with a superuser and with a
//! plain owner as the stored login. Proofs are asked on a connection that does not go through PgLens.

use pglens_e2e::raw::{Answer, RawSession};
use pglens_e2e::{GrantSpec, Login, Place, Stack, StackOptions};
use pglens_testkit::corpus::{Case, Step, read};
use pglens_testkit::{DEADLINE, eventually};
use serde_json::json;
use tokio_postgres::Client;

const TARGET: &str = include_str!("../../../../shared/policy/tests/corpus/target.sql");
pub(super) const READ_ATTACKS: &str =
    include_str!("../../../../shared/policy/tests/corpus/read_attacks.sql");
const READ_HONEST: &str = include_str!("../../../../shared/policy/tests/corpus/read_honest.sql");
const WRITE_ATTACKS: &str =
    include_str!("../../../../shared/policy/tests/corpus/write_attacks.sql");
const WRITE_HONEST: &str = include_str!("../../../../shared/policy/tests/corpus/write_honest.sql");

/// The database that the attacks name.
pub(super) const DATABASE: &str = "corpus";
const OWNER: &str = "plain_owner";
const OWNER_PASSWORD: &str = "owner of the corpus";
const ALLOWED: [&str; 2] = ["app.coupon", "app.allowed_unlock"];

/// What a proxy says no with, or PostgreSQL to what only it could allow.
const REFUSALS: [&str; 4] = ["25006", "42501", "42601", "0A000"];

const WORLD: &str = "select proof.world()";

/// A place with the corpus' database, and a direct way to it.
pub(super) struct Corpus {
    place: Place,
    pub(super) direct: Client,
    pub(super) superuser: Login,
}

impl Corpus {
    pub(super) async fn start(stack: &Stack) -> Self {
        let place = stack.place().await;
        let superuser = place.target.login().with_database(DATABASE);
        let role = format!("create role {OWNER} login password '{OWNER_PASSWORD}'");
        place.target.execute(&role).await;
        let database = format!("create database {DATABASE} owner {OWNER}");
        place.target.execute(&database).await;
        let direct = superuser.connect().await;
        direct.batch_execute(TARGET).await.expect("target.sql");
        // Up to PostgreSQL 14 a process of its own takes note of it, some time later.
        let has_statistics = "select stats_reset is not null from pg_stat_database where datname = current_database()";
        eventually(DEADLINE, || async {
            let row = direct.query_one(has_statistics, &[]).await;
            row.expect("statistics").get(0)
        })
        .await;
        Self {
            place,
            direct,
            superuser,
        }
    }

    /// A login through the proxy with this stored login behind it.
    async fn through(&self, name: &str, stored: &Login, grant: serde_json::Value) -> Login {
        let id = self.place.api.database(name, stored).await;
        let allowed = json!({ "allowed_functions": ALLOWED });
        self.place
            .api
            .update(&format!("/api/databases/{id}"), allowed)
            .await;
        let person = self.place.api.person(name).await;
        let spec = GrantSpec::read();
        let mut body = json!({
            "user_id": person.id,
            "database_id": id,
            "starts_at": spec.starts_at.to_rfc3339(),
            "expires_at": spec.expires_at.to_rfc3339(),
        });
        for (field, value) in grant.as_object().expect("fields of a grant") {
            body[field] = value.clone();
        }
        self.place.api.create("/api/grants", body).await;
        self.place.login(&person).with_database(name)
    }

    async fn proof(&self, case: &Case) -> String {
        let proof = self.try_proof(case).await;
        proof.unwrap_or_else(|error| panic!("{}: {error:?}", case.line))
    }

    /// An error when it cannot be asked for any more.
    pub(super) async fn try_proof(&self, case: &Case) -> Result<String, tokio_postgres::Error> {
        let sql = case.proof.as_deref().unwrap_or(WORLD);
        self.direct.query_one(sql, &[]).await?.try_get(0)
    }

    async fn oid(&self, function: &str) -> u32 {
        let sql = "select min(oid) from pg_proc where proname = $1 and pronamespace = 'pg_catalog'::regnamespace";
        self.direct
            .query_one(sql, &[&function])
            .await
            .expect("an oid")
            .get(0)
    }
}

/// Sessions of one login: one is used again and again as long as it lasts.
pub(super) struct Sessions<'a> {
    corpus: &'a Corpus,
    login: Login,
    open: Option<RawSession>,
}

impl<'a> Sessions<'a> {
    pub(super) fn new(corpus: &'a Corpus, login: Login) -> Self {
        Self {
            corpus,
            login,
            open: None,
        }
    }

    /// Runs the steps of a case; the answers up to the end of the session, and the proof while the session is there.
    async fn run(&mut self, case: &Case) -> (Vec<Answer>, String) {
        let (answers, proof) = self.try_run(case).await;
        let proof = proof.unwrap_or_else(|error| panic!("{}: {error:?}", case.line));
        (answers, proof)
    }

    /// The same where the proof may be lost.
    pub(super) async fn try_run(
        &mut self,
        case: &Case,
    ) -> (Vec<Answer>, Result<String, tokio_postgres::Error>) {
        let mut answers = Vec::new();
        let startup = case.steps.iter().filter_map(|step| match step {
            Step::Startup(name, value) => Some((name.clone(), value.clone())),
            _ => None,
        });
        let startup: Vec<_> = startup.collect();
        let kept = if startup.is_empty() {
            self.open.take()
        } else {
            None
        };
        let session = match kept {
            Some(session) => Ok(session),
            None => RawSession::connect(&self.login, &startup).await,
        };
        let mut session = match session {
            Ok(session) => session,
            Err(refused) => return (vec![refused], self.corpus.try_proof(case).await),
        };
        for step in &case.steps {
            let answer = match step {
                Step::Startup(..) => continue,
                Step::Query(sql) => session.query(sql).await,
                Step::Extended(sql, values) => session.extended(sql, values).await,
                Step::Call(function, values) => {
                    session.call(self.corpus.oid(function).await, values).await
                }
                Step::Raw(bytes) => session.exchange(bytes).await,
            };
            answers.push(answer);
            if session.is_ended() {
                break;
            }
        }
        let proof = self.corpus.try_proof(case).await;
        if startup.is_empty() && !session.is_ended() {
            session.query("ROLLBACK").await;
            let reset = session.query("DISCARD ALL").await;
            if reset.errors.is_empty() && !session.is_ended() {
                self.open = Some(session);
            }
        }
        (answers, proof)
    }
}

fn logins(corpus: &Corpus) -> [(&'static str, Login); 2] {
    let owner = corpus.superuser.with_user(OWNER, OWNER_PASSWORD);
    [("super", corpus.superuser.clone()), ("owner", owner)]
}

async fn attack(sessions: &mut Sessions<'_>, case: &Case) -> Result<(), String> {
    let before = sessions.corpus.proof(case).await;
    let (answers, after) = sessions.run(case).await;
    if before != after {
        return Err(format!(
            "had an effect: {}\n    {answers:?}\n{}",
            case.line,
            changed(&before, &after)
        ));
    }
    let refused = |answer: &Answer| {
        answer
            .sqlstate()
            .is_some_and(|state| REFUSALS.contains(&state))
    };
    if case.section != "-" && !answers.iter().any(refused) {
        return Err(format!("was not refused: {}\n    {answers:?}", case.line));
    }
    Ok(())
}

fn changed(before: &str, after: &str) -> String {
    let pairs = before.lines().zip(after.lines()).enumerate();
    let differ = pairs.filter(|(_, (one, other))| one != other);
    differ
        .map(|(line, (one, other))| format!("    {line}: {one} -> {other}\n"))
        .collect()
}

async fn welcome(sessions: &mut Sessions<'_>, case: &Case) -> Result<(), String> {
    let (answers, _) = sessions.run(case).await;
    for answer in answers {
        let by_pglens = answer
            .errors
            .iter()
            .any(|(_, words)| words.contains("grant") || words.contains("PgLens"));
        if by_pglens || (!case.fails && !answer.errors.is_empty()) {
            return Err(format!("{}\n    {answer:?}", case.line));
        }
    }
    Ok(())
}

#[track_caller]
fn report(what: &str, cases: usize, wrong: &[String]) {
    eprintln!("{what}: {cases} lines, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// Runs every case under a read grant, with each kind of stored login.
async fn under_read_grants(
    what: &str,
    cases: &[Case],
    verdict: impl AsyncFn(&mut Sessions<'_>, &Case) -> Result<(), String>,
) {
    let stack = Stack::start(StackOptions::default()).await;
    let corpus = Corpus::start(&stack).await;
    let mut wrong = Vec::new();
    for (name, stored) in logins(&corpus) {
        let login = corpus
            .through(name, &stored, json!({ "access_level": "read" }))
            .await;
        let mut sessions = Sessions::new(&corpus, login);
        for case in cases {
            if let Err(words) = verdict(&mut sessions, case).await {
                wrong.push(format!("{name} {}: {words}", case.section));
            }
        }
    }
    report(what, 2 * cases.len(), &wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_on_a_read_grant_has_an_effect() {
    under_read_grants("attacks on read grants", &read(READ_ATTACKS), attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_texts_run_under_a_read_grant() {
    under_read_grants(
        "honest texts under read grants",
        &read(READ_HONEST),
        welcome,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controls_of_write_grants_hold_and_do_not_hinder() {
    let stack = Stack::start(StackOptions::default()).await;
    let corpus = Corpus::start(&stack).await;
    let (attacks, honest) = (read(WRITE_ATTACKS), read(WRITE_HONEST));
    let mut wrong = Vec::new();
    for control in ["block_copy", "block_ddl"] {
        let grant = json!({ "access_level": "write", control: true });
        let login = corpus.through(control, &corpus.superuser, grant).await;
        let mut sessions = Sessions::new(&corpus, login);
        for case in attacks
            .iter()
            .filter(|case| case.section.ends_with(control))
        {
            if let Err(words) = attack(&mut sessions, case).await {
                wrong.push(format!("{control}: {words}"));
            }
        }
        for case in &honest {
            if let Err(words) = welcome(&mut sessions, case).await {
                wrong.push(format!("{control}: {words}"));
            }
        }
    }
    report(
        "controls of write grants",
        attacks.len() + 2 * honest.len(),
        &wrong,
    );
}
