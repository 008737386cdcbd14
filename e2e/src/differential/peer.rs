//! Plays a session over a raw socket and keeps what the server answers.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::encode;
use super::login::{Scram, cancel_request, startup};
use super::script::{Session, Step};
use crate::client::Login;
use crate::target::Target;
use crate::wait::within;

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const READ_BYTES: usize = 64 * 1024;

/// The two halves of a connection, plain or encrypted.
type Reading = Box<dyn AsyncRead + Send + Unpin>;
type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// How the bytes of a frontend are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Everything that is due in one write.
    Whole,
    /// So many bytes in each write.
    Chunks(usize),
    /// Each message by itself, and the next one when nothing has come for so long: what the server says of one is known before
    /// the next is sent.
    Messages(Duration),
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub tag: u8,
    pub payload: Vec<u8>,
}

/// What has been received so far.
#[derive(Debug, Default, Clone)]
struct Received {
    answers: Vec<Answer>,
    ended: bool,
    /// Bytes of a message whose end did not come.
    torn: usize,
    is_reset: bool,
}

/// What a server answered to a session.
#[derive(Debug)]
pub struct Played {
    pub answers: Vec<Answer>,
    /// The connection was reset, or ended inside a message, as through a proxy whose own was reset: the server closed it
    /// before it had read everything, and what was on its way is lost, as chance has it (tcp(7), RFC 9293 section 3.10.4).
    pub is_cut: bool,
}

/// Plays `session`, with `tls` from the first byte on if there is one, and returns every message of the server up to the
/// end of the connection, the messages of the authentication but for its outcome aside.
///
/// # Errors
/// When the server does not answer as the session's waits expect it to; with what it did answer.
pub async fn play(
    session: &Session,
    login: &Login,
    pace: Pace,
    tls: Option<&Arc<ClientConfig>>,
    target: &Target,
) -> Result<Played, String> {
    let (mut reading, writing) = connect(login, tls).await;
    let mut peer = Peer {
        name: &session.name,
        port: login.port,
        writing,
        pace,
        due: Vec::new(),
        waited_for: 0,
    };
    let mut first = Vec::new();
    peer.log_in(session, login, &mut reading, &mut first).await;
    let (sender, mut received) = watch::channel(Received::default());
    let receiver = tokio::spawn(receive(reading, sender));
    if first.last().is_some_and(|answer| answer.tag == b'Z') {
        for step in &session.steps {
            peer.step(step, &first, login, target, &mut received)
                .await?;
        }
        if !received.borrow().ended {
            peer.due.extend(encode::frame(b'X', &[]));
        }
    }
    peer.write().await;
    peer.wait("the end", &mut received, |received| received.ended)
        .await?;
    finish(receiver).await;
    let Received {
        answers,
        torn,
        is_reset,
        ..
    } = received.borrow().clone();
    first.extend(answers);
    Ok(Played {
        answers: first,
        is_cut: is_reset || torn > 0,
    })
}

async fn connect(login: &Login, tls: Option<&Arc<ClientConfig>>) -> (Reading, Writing) {
    let socket = TcpStream::connect((login.host.as_str(), login.port))
        .await
        .expect("connect");
    socket.set_nodelay(true).expect("nodelay");
    let Some(config) = tls else {
        let (reading, writing) = socket.into_split();
        return (Box::new(reading), Box::new(writing));
    };
    let name = ServerName::try_from(login.host.clone()).expect("a name or address");
    let connector = TlsConnector::from(Arc::clone(config));
    let encrypted = connector.connect(name, socket).await.expect("handshake");
    let (reading, writing) = tokio::io::split(encrypted);
    (Box::new(reading), Box::new(writing))
}

async fn finish(receiver: JoinHandle<()>) {
    receiver.await.expect("the receiver does not panic");
}

struct Peer<'a> {
    name: &'a str,
    port: u16,
    writing: Writing,
    pace: Pace,
    due: Vec<u8>,
    /// Answers that earlier waits have looked at.
    waited_for: usize,
}

impl Peer<'_> {
    /// Up to the first `ReadyForQuery`, or the error instead of it.
    async fn log_in(
        &mut self,
        session: &Session,
        login: &Login,
        reading: &mut Reading,
        answers: &mut Vec<Answer>,
    ) {
        let mut parameters = vec![
            ("user".to_owned(), login.user.clone()),
            ("database".to_owned(), login.database.clone()),
        ];
        parameters.extend(session.startup.iter().cloned());
        self.due = startup(session.minor_version, &parameters);
        self.write().await;
        let mut scram = Scram::new(&login.password);
        while let Some(answer) = tokio::time::timeout(PATIENCE, read_answer(reading))
            .await
            .unwrap_or_else(|_| panic!("{}: no answer to the login", self.name))
        {
            if answer.tag == b'R' {
                if let Some(response) = scram.answer(&answer.payload) {
                    self.due = response;
                    self.write().await;
                }
                if answer.payload != [0; 4] {
                    continue;
                }
            }
            let last = matches!(answer.tag, b'Z' | b'E');
            answers.push(answer);
            if last {
                return;
            }
        }
    }

    async fn step(
        &mut self,
        step: &Step,
        first: &[Answer],
        login: &Login,
        target: &Target,
        received: &mut watch::Receiver<Received>,
    ) -> Result<(), String> {
        self.due.extend(encode::message(step));
        match step {
            Step::Wait(tag, count) => {
                self.write().await;
                let seen = self.waited_for;
                let what = format!("{count} of {:?}", char::from(*tag));
                self.wait(&what, received, |r| {
                    nth(&r.answers, seen, *tag, *count).is_some()
                })
                .await?;
                let answers = &received.borrow().answers;
                self.waited_for = nth(answers, seen, *tag, *count).expect("was waited for");
            }
            Step::WaitForEnd => {
                self.write().await;
                self.wait("the end", received, |received| received.ended)
                    .await?;
            }
            Step::Elsewhere(sql) => target.execute(sql).await,
            Step::Cancel => {
                self.write().await;
                let key = first
                    .iter()
                    .find(|answer| answer.tag == b'K')
                    .expect("a key");
                wait_until_active(target, &key.payload).await;
                let mut socket = TcpStream::connect((login.host.as_str(), login.port))
                    .await
                    .expect("connect");
                let request = cancel_request(&key.payload);
                socket.write_all(&request).await.expect("write");
                // The server closes it when it has done what it could.
                let _nothing = socket.read(&mut [0]).await;
            }
            _ => {}
        }
        if let Pace::Messages(quiet) = self.pace {
            self.write().await;
            while let Ok(Ok(())) = tokio::time::timeout(quiet, received.changed()).await {}
        }
        Ok(())
    }

    async fn write(&mut self) {
        let due = std::mem::take(&mut self.due);
        let size = match self.pace {
            Pace::Whole | Pace::Messages(_) => due.len().max(1),
            Pace::Chunks(bytes) => bytes,
        };
        for chunk in due.chunks(size) {
            // A server that has closed the connection has said why, and that is compared.
            let _closed = self.writing.write_all(chunk).await;
            let _closed = self.writing.flush().await;
            tokio::task::yield_now().await;
        }
    }

    async fn wait(
        &self,
        what: &str,
        received: &mut watch::Receiver<Received>,
        reached: impl Fn(&Received) -> bool,
    ) -> Result<(), String> {
        let waiting = received.wait_for(|received| reached(received) || received.ended);
        let arrived = match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(received) => reached(&received.expect("the receiver says that it ends")),
            Err(_) => false,
        };
        if arrived {
            return Ok(());
        }
        let (name, port) = (self.name, self.port);
        let seen = super::compare::listing(&received.borrow().answers);
        Err(format!(
            "{name} at port {port}: {what} did not come; what came:\n{seen}"
        ))
    }
}

/// The index behind the `count`-th answer of this type at or after index `seen`.
fn nth(answers: &[Answer], seen: usize, tag: u8, count: usize) -> Option<usize> {
    let mut found = answers
        .iter()
        .enumerate()
        .skip(seen)
        .filter(|(_, a)| a.tag == tag);
    found.nth(count - 1).map(|(index, _)| index + 1)
}

async fn receive(mut reading: Reading, sender: watch::Sender<Received>) {
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        let read = reading.read(&mut chunk).await;
        let count = *read.as_ref().unwrap_or(&0);
        buffer.extend(&chunk[..count]);
        let (mut answers, mut used) = (Vec::new(), 0);
        while let Some((answer, bytes)) = decode(&buffer[used..]) {
            answers.push(answer);
            used += bytes;
        }
        buffer.drain(..used);
        let ended = count == 0;
        sender.send_modify(|received| {
            received.answers.extend(answers);
            received.ended = ended;
            received.torn = buffer.len();
            received.is_reset = read.is_err();
        });
        if ended {
            return;
        }
    }
}

/// The message at the start of `bytes`, once it is whole.
pub fn decode(bytes: &[u8]) -> Option<(Answer, usize)> {
    let (&[tag, a, b, c, d], rest) = bytes.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).expect("64 bits");
    let payload = rest.get(..length - 4)?.to_vec();
    Some((Answer { tag, payload }, length + 1))
}

async fn read_answer(reading: &mut Reading) -> Option<Answer> {
    let mut head = [0; 5];
    reading.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut payload = vec![0; usize::try_from(length).expect("64 bits") - 4];
    reading.read_exact(&mut payload).await.ok()?;
    Some(Answer {
        tag: head[0],
        payload,
    })
}

/// The proxy tells the target's own process id, so that one question serves both ways.
async fn wait_until_active(target: &Target, key: &[u8]) {
    let pid = u32::from_be_bytes(*key.first_chunk().expect("a process id"));
    let question = format!(
        "select exists (select from pg_stat_activity where pid = {pid} and state = 'active' and wait_event is not null)"
    );
    within(PATIENCE, "the statement to cancel runs", || async {
        match target.value(&question).await.as_str() {
            "true" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
}
