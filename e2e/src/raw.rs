//! A client that sends what it is told to, message by message, and keeps the SQLSTATEs that come back.

use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Login;

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Protocol version 3.0.
const VERSION: u32 = 3 << 16;

/// A session over a plain socket.
#[derive(Debug)]
pub struct RawSession {
    socket: TcpStream,
    ended: bool,
}

/// What came back for a message, up to `ReadyForQuery` or the end of the connection.
#[derive(Debug, Default, Clone)]
pub struct Answer {
    /// SQLSTATE and message of each error.
    pub errors: Vec<(String, String)>,
    /// The server closed the connection.
    pub ended: bool,
}

impl Answer {
    /// The first error's SQLSTATE.
    pub fn sqlstate(&self) -> Option<&str> {
        self.errors.first().map(|(sqlstate, _)| sqlstate.as_str())
    }
}

impl RawSession {
    /// Logs in with further startup parameters; an error is the server's answer.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn connect(login: &Login, parameters: &[(String, String)]) -> Result<Self, Answer> {
        let socket = TcpStream::connect((login.host.as_str(), login.port))
            .await
            .expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        let mut session = Self {
            socket,
            ended: false,
        };
        let own = [("user", &login.user), ("database", &login.database)];
        let mut payload = VERSION.to_be_bytes().to_vec();
        let all = own
            .into_iter()
            .map(|(name, value)| (name, value.as_str()))
            .chain(
                parameters
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            );
        for text in all.flat_map(|(name, value)| [name, value]) {
            payload.extend(cstr(text));
        }
        payload.push(0);
        session.write(&counted(&payload)).await;
        let mut scram = ScramSha256::new(login.password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let Some((tag, payload)) = session.read().await else {
                return Err(Answer {
                    ended: true,
                    ..Answer::default()
                });
            };
            match tag {
                b'R' => session.authenticate(&payload, &mut scram).await,
                b'E' => {
                    return Err(Answer {
                        errors: vec![error(&payload)],
                        ended: true,
                    });
                }
                b'Z' => return Ok(session),
                _ => {}
            }
        }
    }

    async fn authenticate(&mut self, payload: &[u8], scram: &mut ScramSha256) {
        let (code, data) = payload.split_first_chunk::<4>().expect("a code");
        match u32::from_be_bytes(*code) {
            10 => {
                let first = scram.message().to_vec();
                let length = u32::try_from(first.len()).expect("short");
                let parts = [&cstr(SCRAM_SHA_256)[..], &length.to_be_bytes(), &first];
                self.write(&message(b'p', &parts.concat())).await;
            }
            11 => {
                scram.update(data).expect("a challenge");
                self.write(&message(b'p', scram.message())).await;
            }
            12 => scram.finish(data).expect("the server knows the password"),
            _ => {}
        }
    }

    /// A simple query.
    pub async fn query(&mut self, sql: &str) -> Answer {
        self.exchange(&message(b'Q', &cstr(sql))).await
    }

    /// Parse, Bind, Execute and Sync with values as text.
    pub async fn extended(&mut self, sql: &str, values: &[String]) -> Answer {
        let parse = message(b'P', &[&[0], &cstr(sql)[..], &[0, 0]].concat());
        let count = u16::try_from(values.len())
            .expect("few values")
            .to_be_bytes();
        let mut bind = [&[0, 0, 0, 0][..], &count].concat();
        for value in values {
            bind.extend(counted_value(value.as_bytes()));
        }
        bind.extend([0, 0]);
        let execute = message(b'E', &[0, 0, 0, 0, 0]);
        let all = [parse, message(b'B', &bind), execute, message(b'S', &[])].concat();
        self.exchange(&all).await
    }

    /// A function call message with integers as text.
    pub async fn call(&mut self, oid: u32, values: &[i64]) -> Answer {
        let count = u16::try_from(values.len())
            .expect("few values")
            .to_be_bytes();
        let mut payload = [&oid.to_be_bytes()[..], &[0, 0], &count].concat();
        for value in values {
            payload.extend(counted_value(value.to_string().as_bytes()));
        }
        payload.extend([0, 0]);
        self.exchange(&message(b'F', &payload)).await
    }

    /// Sends bytes and reads up to the next `ReadyForQuery`.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Answer {
        self.write(bytes).await;
        let mut answer = Answer::default();
        while let Some((tag, payload)) = self.read().await {
            match tag {
                b'E' => answer.errors.push(error(&payload)),
                // COPY FROM STDIN: there is nothing to copy.
                b'G' => self.write(&message(b'f', &cstr("no data"))).await,
                b'Z' => return answer,
                _ => {}
            }
        }
        answer.ended = true;
        answer
    }

    /// Whether the server closed the connection.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    async fn write(&mut self, bytes: &[u8]) {
        // A server that has closed the connection has said why, and that is read.
        let _closed = self.socket.write_all(bytes).await;
    }

    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let reading = async {
            let mut head = [0; 5];
            self.socket.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut payload = vec![0; usize::try_from(length).expect("64 bits") - 4];
            self.socket.read_exact(&mut payload).await.ok()?;
            Some((head[0], payload))
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        let read = read.expect("an answer in time");
        self.ended |= read.is_none();
        read
    }
}

fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
    [&[tag][..], &counted(payload)].concat()
}

/// A payload behind its length, which counts itself.
fn counted(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).expect("a message is short");
    [&length.to_be_bytes(), payload].concat()
}

fn counted_value(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("a value is short");
    [&length.to_be_bytes(), value].concat()
}

fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn error(payload: &[u8]) -> (String, String) {
    let fields = payload
        .split(|byte| *byte == 0)
        .filter(|field| !field.is_empty());
    let text = |wanted: u8| {
        let mut found = fields.clone().filter(|field| field[0] == wanted);
        let field = found.next().map(|field| &field[1..]).unwrap_or_default();
        String::from_utf8_lossy(field).into_owned()
    };
    (text(b'C'), text(b'M'))
}
