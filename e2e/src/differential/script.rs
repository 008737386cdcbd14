//! Sessions as data: what a frontend sends, and what it waits for.
//!
//! A file holds any number of sessions. A line is a step; a line that begins with white space goes on with the one
//! before it; `#` begins a comment line.
//!
//! ```text
//! session NAME                          begins a session; the lines that may follow it:
//!   read                                also run under a read grant
//!   compare sqlstate | message          of errors compare only severity and SQLSTATE, or these and the message
//!   startup NAME VALUE                  a startup parameter
//!   version 3.2                         the protocol version asked for
//!   since MAJOR, until MAJOR            the PostgreSQL majors it is for
//!   aside NUMBER...                     these outcomes in its answers, counted from 1, are of no statement
//!   commits NUMBER...                   these are commits that failed, of the statement before
//! query SQL
//! parse NAME[(OID,...)] SQL             the name - is the empty one, here and below; OID*COUNT is so many of them
//! bind PORTAL STATEMENT VALUE... [=> FORMAT...]   VALUE: 'text', x'00ff' (binary), null, each with *COUNT if need be;
//!                                       FORMAT: text, binary
//! describe statement|portal NAME,  close statement|portal NAME
//! execute PORTAL [MAX_ROWS]
//! sync,  flush,  terminate
//! copy-data TEXT,  copy-done,  copy-fail TEXT
//! call OID VALUE... => FORMAT           a FunctionCall
//! message TAG TEXT                      any message, with its length
//! bytes TEXT                            any bytes
//! repeat COUNT ... done                 {n} in what is repeated counts from 1
//! wait TAG [COUNT]                      sends what is due and reads until COUNT more messages of the type have come
//! wait end                              ... until the server closes the connection
//! elsewhere SQL                         runs SQL in another session, at the target itself
//! cancel                                once the session's statement runs, asks that it be cancelled
//! ```
//!
//! TEXT and VALUE know `\n`, `\t`, `\\`, `\'`, `\xHH` and `\{TEXT*COUNT}`, which is TEXT so many times.

use std::str::SplitWhitespace;

use super::encode::{message, unescape};
use super::lines::logical_lines;

/// How closely errors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// All fields, byte for byte.
    Whole,
    /// Severity, SQLSTATE and message.
    Message,
    /// Severity only: where one of the two says why it refuses.
    Severity,
    /// Severity and SQLSTATE: for what PostgreSQL says of broken messages, where the words are its own. Where it hangs up
    /// without a word, the proxy may say 08P01 first.
    Sqlstate,
}

/// A scripted session.
#[derive(Debug, Clone)]
pub struct Session {
    pub name: String,
    pub read: bool,
    pub errors: Errors,
    pub startup: Vec<(String, String)>,
    pub minor_version: u16,
    pub since: u32,
    pub until: u32,
    pub aside: Vec<usize>,
    pub commits: Vec<usize>,
    pub steps: Vec<Step>,
}

/// A value of a Bind or FunctionCall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

/// One line of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Query(String),
    Parse {
        name: String,
        types: Vec<u32>,
        sql: String,
    },
    Bind {
        portal: String,
        statement: String,
        values: Vec<Value>,
        result_formats: Vec<u16>,
    },
    Describe(u8, String),
    Close(u8, String),
    Execute(String, u32),
    Call {
        function: u32,
        values: Vec<Value>,
        result_format: u16,
    },
    Message(u8, Vec<u8>),
    Bytes(Vec<u8>),
    Wait(u8, usize),
    WaitForEnd,
    Elsewhere(String),
    Cancel,
}

/// Reads a file of sessions.
///
/// # Panics
/// On a line that is none of a session's, naming it.
pub fn parse(file: &str, text: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    for (number, line) in logical_lines(text) {
        let place = format!("{file}:{number}");
        if let Some(name) = line.strip_prefix("session ") {
            sessions.push(Session::new(name));
            continue;
        }
        let session = sessions
            .last_mut()
            .unwrap_or_else(|| panic!("{place}: no session before this line"));
        session
            .take_line(&line)
            .unwrap_or_else(|| panic!("{place}: {line}"));
    }
    for session in &sessions {
        assert!(
            !session.steps.is_empty(),
            "{file}: session {} is empty",
            session.name
        );
    }
    sessions
}

impl Session {
    fn new(name: &str) -> Self {
        Self {
            name: name.trim().to_owned(),
            read: false,
            errors: Errors::Whole,
            startup: Vec::new(),
            minor_version: 0,
            since: 0,
            until: u32::MAX,
            aside: Vec::new(),
            commits: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Bytes that its frontend sends behind the login.
    pub fn sent_bytes(&self) -> usize {
        self.steps.iter().map(|step| message(step).len()).sum()
    }

    /// Takes a line of its head or a step; `None` if it is neither.
    fn take_line(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest) {
            ("read", "") => self.read = true,
            ("compare", "message") => self.errors = Errors::Message,
            ("compare", "sqlstate") => self.errors = Errors::Sqlstate,
            ("aside", list) => self.aside = numbers(list)?,
            ("commits", list) => self.commits = numbers(list)?,
            ("startup", pair) => {
                let (name, value) = pair.split_once(' ')?;
                self.startup.push((name.to_owned(), value.to_owned()));
            }
            ("version", version) => {
                self.minor_version = version.strip_prefix("3.")?.parse().ok()?
            }
            ("since", major) => self.since = major.parse().ok()?,
            ("until", major) => self.until = major.parse().ok()?,
            _ => self.steps.push(step(word, rest)?),
        }
        Some(())
    }
}

fn step(word: &str, rest: &str) -> Option<Step> {
    let mut words = rest.split_whitespace();
    Some(match word {
        "query" => Step::Query(rest.to_owned()),
        "parse" => parse_step(rest)?,
        "bind" => {
            let (portal, statement) = (name(words.next()?), name(words.next()?));
            let after = rest.splitn(3, ' ').nth(2).unwrap_or_default();
            let (values, result_formats) = values(after)?;
            Step::Bind {
                portal,
                statement,
                values,
                result_formats,
            }
        }
        "call" => {
            let function = words.next()?.parse().ok()?;
            let (values, formats) = values(rest.split_once(' ')?.1)?;
            let result_format = *formats.first()?;
            Step::Call {
                function,
                values,
                result_format,
            }
        }
        "describe" => Step::Describe(subject(words.next()?)?, name(words.next()?)),
        "close" => Step::Close(subject(words.next()?)?, name(words.next()?)),
        "execute" => {
            let portal = name(words.next()?);
            Step::Execute(
                portal,
                words.next().map_or(Some(0), |max| max.parse().ok())?,
            )
        }
        "sync" => Step::Message(b'S', Vec::new()),
        "flush" => Step::Message(b'H', Vec::new()),
        "terminate" => Step::Message(b'X', Vec::new()),
        "copy-data" => Step::Message(b'd', unescape(rest)?),
        "copy-done" => Step::Message(b'c', Vec::new()),
        "copy-fail" => Step::Message(b'f', [unescape(rest)?, vec![0]].concat()),
        "message" => {
            let (tag, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            Step::Message(*unescape(tag)?.first()?, unescape(payload)?)
        }
        "bytes" => Step::Bytes(unescape(rest)?),
        "wait" if rest == "end" => Step::WaitForEnd,
        "wait" => wait(words)?,
        "elsewhere" => Step::Elsewhere(rest.to_owned()),
        "cancel" => Step::Cancel,
        _ => return None,
    })
}

fn wait(mut words: SplitWhitespace<'_>) -> Option<Step> {
    let tag = words.next()?.as_bytes();
    let count = words.next().map_or(Some(1), |count| count.parse().ok())?;
    (tag.len() == 1).then_some(Step::Wait(tag[0], count))
}

fn parse_step(rest: &str) -> Option<Step> {
    let (head, sql) = rest.split_once(' ').unwrap_or((rest, ""));
    let (written, types) = head.split_once('(').unwrap_or((head, ")"));
    let mut oids = Vec::new();
    for item in types
        .strip_suffix(')')?
        .split(',')
        .filter(|item| !item.is_empty())
    {
        let (oid, times) = item.split_once('*').unwrap_or((item, "1"));
        oids.extend(std::iter::repeat_n(
            oid.parse::<u32>().ok()?,
            times.parse().ok()?,
        ));
    }
    Some(Step::Parse {
        name: name(written),
        types: oids,
        sql: sql.to_owned(),
    })
}

fn name(word: &str) -> String {
    if word == "-" { "" } else { word }.to_owned()
}

fn subject(word: &str) -> Option<u8> {
    match word {
        "statement" => Some(b'S'),
        "portal" => Some(b'P'),
        _ => None,
    }
}

/// `VALUE... [=> FORMAT...]`
fn values(text: &str) -> Option<(Vec<Value>, Vec<u16>)> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with("=>") {
        let (value, after) = value(rest)?;
        let (word, behind) = after.split_once(' ').unwrap_or((after, ""));
        let times = match word.strip_prefix('*') {
            Some(times) => times.parse().ok()?,
            None if word.is_empty() => 1,
            None => return None,
        };
        values.extend(std::iter::repeat_n(value, times));
        rest = behind.trim_start();
    }
    let formats = rest.strip_prefix("=>").unwrap_or_default();
    let formats = formats.split_whitespace().map(|format| match format {
        "text" => Some(0),
        "binary" => Some(1),
        number => number.parse().ok(),
    });
    Some((values, formats.collect::<Option<_>>()?))
}

fn value(text: &str) -> Option<(Value, &str)> {
    if let Some(after) = text.strip_prefix("null") {
        return Some((Value::Null, after));
    }
    let (is_binary, quoted) = match text.strip_prefix('x') {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let inside = quoted.strip_prefix('\'')?;
    let mut escaped = false;
    let end = inside.find(|c| {
        let ends = c == '\'' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let (content, after) = (&inside[..end], &inside[end + 1..]);
    let value = if is_binary {
        Value::Binary(hex(content)?)
    } else {
        Value::Text(unescape(content)?)
    };
    Some((value, after))
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

#[test]
fn a_session_is_read_as_it_is_written() {
    let text = "# a comment\nsession one\n  read\n  startup DateStyle German, DMY\nquery select 1,\n  2\n\
                parse s(23,0) select $1\nbind - s 'it\\'s' x'00ff' null => binary\nexecute - 5\n\
                repeat 2\nquery select {n}\ndone\nwait Z 3\nwait end\n";
    let sessions = parse("test", text);
    let session = &sessions[0];
    assert_eq!((session.name.as_str(), session.read), ("one", true));
    assert_eq!(
        session.startup,
        [("DateStyle".to_owned(), "German, DMY".to_owned())]
    );
    let query = |text: &str| Step::Query(text.to_owned());
    let expected = [
        query("select 1,\n2"),
        Step::Parse {
            name: "s".to_owned(),
            types: vec![23, 0],
            sql: "select $1".to_owned(),
        },
        Step::Bind {
            portal: String::new(),
            statement: "s".to_owned(),
            values: vec![
                Value::Text(b"it's".to_vec()),
                Value::Binary(vec![0, 255]),
                Value::Null,
            ],
            result_formats: vec![1],
        },
        Step::Execute(String::new(), 5),
        query("select 1"),
        query("select 2"),
        Step::Wait(b'Z', 3),
        Step::WaitForEnd,
    ];
    assert_eq!(session.steps, expected);
}
fn numbers(list: &str) -> Option<Vec<usize>> {
    list.split(' ').map(|number| number.parse().ok()).collect()
}
