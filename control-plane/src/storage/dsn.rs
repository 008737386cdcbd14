//! The connection string of the storage database, with all of libpq's `sslmode`s.
//!
//! tokio-postgres knows `disable`, `prefer` and `require`. `sslmode` and `sslrootcert` are therefore taken out of the text
//! before it parses the rest.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pglens_core::SslMode;
use pglens_runtime::Verification;
use pglens_runtime::tls::{self, TlsError};
use tokio_postgres::config::{Host, SslMode as DriverSslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A server that has not answered by then is tried again later.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that stay unacknowledged for this long end the connection: the machine on the other side is gone.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves, because an answer is waited for or because nobody uses it, is probed after this
/// long, and again so soon; without an answer it ends as above.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// A text that is no connection string. Shows nothing of it, for it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDsn {
    /// The syntax is wrong, or an option is unknown.
    #[error("{0}")]
    Syntax(String),
    /// No server is named.
    #[error("names no host")]
    NoHost,
    /// The value of `sslmode` is not one of libpq's.
    #[error("sslmode: {0}")]
    SslMode(#[from] pglens_core::grant::UnknownWord),
    /// Certificates cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The file of `sslrootcert` cannot be read.
    #[error("sslrootcert: cannot read {}: {source}", path.display())]
    RootCert {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where and how the storage database is reached.
#[derive(Clone)]
pub struct Dsn {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

/// Host, port and database: what may be logged.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{separator}{name}")?,
                Host::Unix(path) => write!(f, "{separator}{}", path.display())?,
            }
            let ports = self.config.get_ports();
            if let Some(port) = ports.get(index).or_else(|| ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl Dsn {
    /// Reads a URL (`postgres://…`) or `key=value` pairs.
    ///
    /// # Errors
    /// When the text cannot be understood, or the certificates it names cannot be used.
    pub fn parse(text: &str) -> Result<Self, InvalidDsn> {
        let taken = match text.starts_with("postgres://") || text.starts_with("postgresql://") {
            true => TlsOptions::take_from_url(text),
            false => TlsOptions::take_from_pairs(text),
        };
        let mut config: tokio_postgres::Config = taken
            .rest
            .parse()
            .map_err(|error: tokio_postgres::Error| InvalidDsn::Syntax(one_line(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(InvalidDsn::NoHost);
        }
        let mode: SslMode = match &taken.mode {
            Some(word) => word.parse()?,
            None => SslMode::Prefer,
        };
        config.ssl_mode(match mode {
            SslMode::Disable => DriverSslMode::Disable,
            SslMode::Allow | SslMode::Prefer => DriverSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverSslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("pglens-control-plane");
        }
        config
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL);
        Ok(Self {
            config,
            tls: tls_connector(mode, taken.root_cert.as_deref())?,
        })
    }
}

fn tls_connector(mode: SslMode, root_cert: Option<&str>) -> Result<MakeRustlsConnect, InvalidDsn> {
    let ca = match root_cert {
        // libpq's word for the system's store.
        None | Some("system") => None,
        Some(path) => {
            Some(
                std::fs::read_to_string(path).map_err(|source| InvalidDsn::RootCert {
                    path: Path::new(path).to_owned(),
                    source,
                })?,
            )
        }
    };
    let verification = Verification::of(mode, ca.is_some());
    Ok(MakeRustlsConnect::new(tls::client_config(
        verification,
        ca.as_deref(),
    )?))
}

/// The driver's words about the text, which name options and never their values.
fn one_line(error: &tokio_postgres::Error) -> String {
    let mut words = error.to_string();
    if let Some(source) = std::error::Error::source(error)
        && !words.contains(&source.to_string())
    {
        words = format!("{words}: {source}");
    }
    words
}

#[derive(Default)]
struct TlsOptions {
    mode: Option<String>,
    root_cert: Option<String>,
    rest: String,
}

impl TlsOptions {
    /// Keeps `name` if it is one of ours.
    fn take(&mut self, name: &str, value: &str) -> bool {
        match name {
            "sslmode" => self.mode = Some(value.to_owned()),
            "sslrootcert" => self.root_cert = Some(value.to_owned()),
            _ => return false,
        }
        true
    }

    fn take_from_url(text: &str) -> Self {
        let Some((base, query)) = text.split_once('?') else {
            return Self {
                rest: text.to_owned(),
                ..Self::default()
            };
        };
        let mut taken = Self::default();
        let mut kept = Vec::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = crate::percent::decode(value).unwrap_or_default();
            if !taken.take(name, &value) {
                kept.push(pair);
            }
        }
        taken.rest = match kept.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", kept.join("&")),
        };
        taken
    }

    fn take_from_pairs(text: &str) -> Self {
        let mut taken = Self::default();
        let mut rest = text.trim_start();
        let mut kept = Vec::new();
        while !rest.is_empty() {
            let length = pair_length(rest);
            let (pair, behind) = rest.split_at(length);
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.trim().trim_matches('\'').replace("\\'", "'");
            if !taken.take(name.trim(), &value) {
                kept.push(pair.trim_end());
            }
            rest = behind.trim_start();
        }
        taken.rest = kept.join(" ");
        taken
    }
}

/// Length of the first `name = value` of `text`, where the value may be in quotes (PostgreSQL manual, section 34.1.1.1).
fn pair_length(text: &str) -> usize {
    let Some(equals) = text.find('=') else {
        return text.len();
    };
    let behind = text.get(equals + 1..).unwrap_or_default();
    let value = behind.trim_start();
    let start = text.len() - value.len();
    let (mut quoted, mut escaped) = (value.starts_with('\''), false);
    for (index, character) in value.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted && index > 0 => quoted = false,
            _ if !quoted && character.is_whitespace() => return start + index,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let check = |text: &str, shown: &str, mode: DriverSslMode| {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!(dsn.to_string(), shown);
            assert_eq!(dsn.config.get_ssl_mode(), mode);
        };
        check(
            "postgres://u:p@db:5433/pglens?sslmode=disable",
            "db:5433/pglens",
            DriverSslMode::Disable,
        );
        check(
            "postgresql://u@a,b/x?sslmode=require&application_name=y",
            "a:5432,b:5432/x",
            DriverSslMode::Require,
        );
        check(
            "host=db  port=1 dbname=x sslmode = allow",
            "db:1/x",
            DriverSslMode::Prefer,
        );
        check(
            "host='a b' password='it\\'s sslmode=disable' dbname=x",
            "a b/x",
            DriverSslMode::Prefer,
        );
    }

    #[test]
    fn errors_name_the_option_and_no_secret() {
        let check = |text: &str, expected: &str| {
            let message = Dsn::parse(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        };
        check("nonsense hunter2", "invalid connection string");
        check("dbname=x password=hunter2", "names no host");
        check(
            "host=x sslmode=maybe",
            "sslmode: \"maybe\" is not one of disable, allow",
        );
        check("host=x password=hunter2 colour=red", "colour");
        check(
            "postgres://u:hunter2@h/d?sslmode=verify-ca&sslrootcert=/nowhere",
            "sslrootcert",
        );
        assert!(
            !format!("{:?}", Dsn::parse("postgres://u:hunter2@h/d").unwrap()).contains("hunter2")
        );
    }
}
