//! The corpus of scripted sessions under `e2e/corpus`: what the proxy's client reads equals what the target's own reads,
//! byte for byte but for the fields listed in `pglens_e2e::differential::normal`, and the record holds what the answers
//! tell was executed.

mod random;

use std::path::Path;
use std::sync::Arc;

use pglens_e2e::differential::script::{Errors, parse};
use pglens_e2e::differential::{
    Answer, Outcome, Pace, Played, Session, difference, normal, outcomes, play,
};
use pglens_e2e::{GrantSpec, Person, Place, Recorded, Stack, StackOptions};
use pglens_runtime::Verification;
use pglens_runtime::tls::client_config;
use pglens_testkit::target_major;
use rustls::ClientConfig;

const SAMPLE: &str = include_str!("../../corpus/sample.sql");

/// Runs the sessions whose name holds this text only.
const FILTER: &str = "PGLENS_SESSION";

/// Chunk sizes that cut headers and payloads at every place, on and on.
const CHUNKS: [usize; 3] = [1, 4, 7];

/// Sessions of more bytes are not sent in small chunks: that would only take long.
const MAX_CHUNKED_BYTES: usize = 4 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_grant_shows_what_the_target_says() {
    check(&GrantSpec::write(), |_| Some(Pace::Whole)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_grant_shows_what_a_read_only_target_says() {
    check(&GrantSpec::read(), |session| {
        session.read.then_some(Pace::Whole)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_come_in_small_pieces_are_answered_alike() {
    let mut sizes = CHUNKS.into_iter().cycle();
    check(&GrantSpec::write(), |session| {
        let size = sizes.next()?;
        (session.sent_bytes() <= MAX_CHUNKED_BYTES).then_some(Pace::Chunks(size))
    })
    .await;
}

/// What the record of a session must hold.
struct Told {
    name: String,
    heard: Heard,
    /// Some errors may be of messages that are no statements: see [`OF_NO_STATEMENT`].
    has_strays: bool,
}

/// Broken messages, and Describe of names that nobody has given or in a failed transaction, are no statements. What fails so
/// otherwise is left out with them.
const OF_NO_STATEMENT: [&str; 4] = ["08P01", "25P02", "26000", "34000"];

/// What a session's client has heard of its statements.
struct Heard {
    outcomes: Vec<Outcome>,
    /// There may have been more: the connection was cut.
    is_cut: bool,
}

/// Plays the sessions that `pace` has a pace for, one after the other.
async fn check(grant: &GrantSpec, mut pace: impl FnMut(&Session) -> Option<Pace>) {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    place.target.execute(SAMPLE).await;
    let played_by = Players::of(&place, grant).await;
    let (mut played, mut told, mut differing) = (0, Vec::new(), Vec::new());
    for session in corpus() {
        let Some(pace) = pace(&session) else { continue };
        match played_by.check(&session, (pace, Transport::Plain)).await {
            Ok(heard) => told.extend(heard.map(|heard| Told {
                name: session.name.clone(),
                heard,
                has_strays: session.errors == Errors::Sqlstate,
            })),
            Err(difference) => {
                differing.push(format!("=== {}, {pace:?}\n{difference}", session.name))
            }
        }
        played += 1;
    }
    assert!(played > 0, "no session was played");
    eprintln!("{played} sessions, target PostgreSQL {}", target_major());
    if differing.is_empty() {
        differing = played_by.check_record(&told).await;
    }
    assert!(
        differing.is_empty(),
        "{} of {played} sessions differ\n{}",
        differing.len(),
        differing.join("\n")
    );
}

/// Between client and proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Plain,
    Tls,
}

struct Players<'a> {
    place: &'a Place,
    tls: Arc<ClientConfig>,
    player: Person,
    outsider: Person,
    is_reader: bool,
    sample_end: u32,
}

impl<'a> Players<'a> {
    /// At a target with the sample in it.
    async fn of(place: &'a Place, grant: &GrantSpec) -> Self {
        let last_oid = "select max(oid)::int8 + 1 from pg_class";
        // Whether the certificate is right is the matter of other tests.
        let mut tls = client_config(Verification::None, None).unwrap();
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
        Self {
            place,
            tls: Arc::new(tls),
            player: place.granted("player", grant).await.0,
            // Whoever does not get past the login may have a connection on record or not.
            outsider: place.granted("outsider", grant).await.0,
            is_reader: grant.access_level == "read",
            sample_end: place.target.value(last_oid).await.parse().unwrap(),
        }
    }

    /// What the record must hold of it, if it got past the login.
    async fn check(
        &self,
        session: &Session,
        manner: (Pace, Transport),
    ) -> Result<Option<Heard>, String> {
        self.check_against(session.clone(), session, manner).await
    }

    /// The same, with what is to be answered alike at the target.
    async fn check_against(
        &self,
        mut at_target: Session,
        session: &Session,
        (pace, transport): (Pace, Transport),
    ) -> Result<Option<Heard>, String> {
        let place = self.place;
        if self.is_reader {
            let read_only = ("default_transaction_read_only".to_owned(), "on".to_owned());
            at_target.startup.push(read_only);
        }
        let login = place.target.login();
        let direct = play(&at_target, login, Pace::Whole, None, &place.target).await?;
        let got_in = direct.answers.iter().any(|answer| answer.tag == b'Z');
        let person = if got_in { &self.player } else { &self.outsider };
        let tls = (transport == Transport::Tls).then_some(&self.tls);
        let proxied = play(session, &place.login(person), pace, tls, &place.target).await?;
        let normal = |played: &Played| normal::normal(&played.answers, self.sample_end);
        let (mut at_target, mut through_proxy) = (normal(&direct), normal(&proxied));
        if direct.is_cut || (proxied.is_cut && hangs_up(&direct.answers)) {
            let common = at_target.len().min(through_proxy.len());
            at_target.truncate(common);
            through_proxy.truncate(common);
        }
        match difference(&at_target, &through_proxy, session.errors) {
            Some(difference) => Err(difference),
            None if got_in => Ok(Some(Heard {
                outcomes: told(&proxied.answers, session),
                is_cut: proxied.is_cut,
            })),
            None => Ok(None),
        }
    }

    /// Sessions whose record differs from what the answers told, which were all there are.
    async fn check_record(&self, told: &[Told]) -> Vec<String> {
        let recorded = self.place.api.recorded(&self.player, told.len()).await;
        let connections = self.place.api.connections(&self.player).await;
        let mut differing = Vec::new();
        for (told, connection) in told.iter().zip(&connections) {
            let recorded = recorded
                .iter()
                .filter(|record| connection["id"] == record.connection_id.as_str())
                .filter(|record| !told.has_strays || record.json["outcome_unknown"] != true)
                .map(recorded_outcome);
            let answered = told.heard.outcomes.iter().cloned();
            let is_stray = |one: &Outcome| OF_NO_STATEMENT.contains(&one.sqlstate.as_str());
            let counts = |one: &Outcome| !told.has_strays || !is_stray(one);
            let answered: Vec<_> = answered.filter(counts).collect();
            let mut recorded: Vec<_> = recorded.filter(counts).collect();
            if told.heard.is_cut {
                recorded.truncate(answered.len());
            }
            if let Some(difference) = outcome_difference(&answered, &recorded) {
                differing.push(format!("=== the record of: {}\n{difference}", told.name));
            }
        }
        differing
    }
}

fn recorded_outcome(record: &Recorded) -> Outcome {
    let [duration, first_row] =
        ["duration_us", "first_row_us"].map(|name| record.json[name].as_u64());
    assert!(first_row <= duration, "{}", record.json);
    Outcome {
        tag: record.command_tag.clone(),
        sqlstate: record.sqlstate.clone(),
        rows: record.row_count,
    }
}

/// Whether the server ended the session by itself. Only then may it leave something of its client unread, and the
/// connection be reset.
fn hangs_up(answers: &[Answer]) -> bool {
    let is_fatal = |answer: &Answer| {
        let mut fields = answer.payload.split(|byte| *byte == 0);
        answer.tag == b'E' && fields.any(|field| field == b"VFATAL")
    };
    answers.iter().any(is_fatal)
}

/// What the answers behind the login tell, without those that are of no statement.
fn told(answers: &[Answer], session: &Session) -> Vec<Outcome> {
    let ready = answers.iter().position(|answer| answer.tag == b'Z');
    let mut told: Vec<Outcome> = Vec::new();
    for (number, outcome) in (1..).zip(outcomes(&answers[ready.unwrap()..])) {
        if session.commits.contains(&number) {
            told.last_mut().unwrap().sqlstate = outcome.sqlstate;
        } else if !session.aside.contains(&number) {
            told.push(outcome);
        }
    }
    told
}

fn outcome_difference(told: &[Outcome], recorded: &[Outcome]) -> Option<String> {
    let same = |(told, recorded): (&Outcome, &Outcome)| told == recorded;
    let index = told
        .iter()
        .zip(recorded)
        .take_while(|pair| same(*pair))
        .count();
    if (index, index) == (told.len(), recorded.len()) {
        return None;
    }
    Some(format!(
        "statement {}: answered {:?}, recorded {:?}; {} and {} in all",
        index + 1,
        told.get(index),
        recorded.get(index),
        told.len(),
        recorded.len()
    ))
}

/// The sessions for the target's major.
fn corpus() -> Vec<Session> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "session"))
        .collect();
    files.sort();
    let wanted = set_by_hand(FILTER);
    let mut sessions = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy();
        sessions.extend(parse(&name, &std::fs::read_to_string(&file).unwrap()));
    }
    let majors = |session: &Session| (session.since..=session.until).contains(&target_major());
    sessions.retain(|session| majors(session) && session.name.contains(&wanted));
    sessions
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wish of who runs the tests, not a setting of ours"
)]
fn set_by_hand(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
