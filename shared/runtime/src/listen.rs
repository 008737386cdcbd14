//! Addresses to listen on: `:5432`, `host:port`, `[::1]:0`.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use tokio::net::TcpListener;

use crate::config::{ConfigError, Origin, Settings};

/// A text that is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an address to listen on, like :5432, host:5432 or [::1]:5432")]
pub struct InvalidListenAddr(String);

/// Where to listen. Without a host it is every interface, over IPv6 and IPv4; port 0 is any free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr {
    host: Option<String>,
    port: u16,
}

impl ListenAddr {
    /// A port for this machine only.
    #[must_use]
    pub fn local(port: u16) -> Self {
        Self {
            host: Some(Ipv4Addr::LOCALHOST.to_string()),
            port,
        }
    }

    /// The port as it was given; 0 stands for any free one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port,
        }
    }

    /// Binds and listens. A host name is resolved, and the first of its addresses that can be bound is taken.
    ///
    /// # Errors
    /// When no address could be bound; the error is that of the last one tried.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        let Some(host) = &self.host else {
            return self.bind_every_interface().await;
        };
        TcpListener::bind((host.as_str(), self.port)).await
    }

    /// `[::]` takes IPv4 as well; a machine without IPv6 gets `0.0.0.0`.
    async fn bind_every_interface(&self) -> io::Result<TcpListener> {
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, self.port)).await {
            Ok(listener) => Ok(listener),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                ) =>
            {
                Err(error)
            }
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)).await,
        }
    }
}

impl FromStr for ListenAddr {
    type Err = InvalidListenAddr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidListenAddr(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let port = port.parse().map_err(|_| invalid())?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            _ if host.is_empty() => None,
            Some(address) if address.parse::<Ipv6Addr>().is_ok() => Some(address.to_owned()),
            None if is_host(host) => Some(host.to_owned()),
            _ => return Err(invalid()),
        };
        Ok(Self { host, port })
    }
}

fn is_host(host: &str) -> bool {
    host.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, "[::]:{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

/// A [`ListenAddr`] that knows which setting to blame.
#[derive(Debug, Clone)]
pub struct ListenSetting {
    /// The address itself.
    pub addr: ListenAddr,
    origin: Origin,
}

impl ListenSetting {
    /// An address that was made from a setting.
    #[must_use]
    pub fn new(addr: ListenAddr, origin: Origin) -> Self {
        Self { addr, origin }
    }

    /// Reads the setting `name`, which must have a value.
    ///
    /// # Errors
    /// When the value is missing or is no address.
    pub fn read(settings: &Settings, name: &'static str) -> Result<Self, ConfigError> {
        Ok(Self {
            addr: settings.required(name, str::parse)?,
            origin: settings.origin(name),
        })
    }

    /// Binds and listens.
    ///
    /// # Errors
    /// When the address cannot be bound, naming the setting and its source.
    pub async fn bind(&self) -> Result<TcpListener, ConfigError> {
        self.addr.bind().await.map_err(|error| {
            let addr = &self.addr;
            self.origin.error(format_args!(
                "cannot listen on {addr}: {}",
                io_reason(&error)
            ))
        })
    }
}

/// What went wrong, in words without an error number.
#[must_use]
pub fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        kind if error.raw_os_error().is_some() && kind != io::ErrorKind::Other => {
            let words = kind.to_string();
            // Kinds that std has no word for yet.
            if words == "uncategorized error" {
                error.to_string()
            } else {
                words
            }
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let check = |text: &str, shown: &str| {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), shown);
        };
        check(":5432", "[::]:5432");
        check(":0", "[::]:0");
        check("localhost:80", "localhost:80");
        check("127.0.0.1:0", "127.0.0.1:0");
        check("[::1]:0", "[::1]:0");
        check("db-1.example_net:65535", "db-1.example_net:65535");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ":",
            "5432",
            "host",
            "host:",
            ":65536",
            ":-1",
            ":+1",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[nonsense]:80",
            "a b:80",
            "http://x:80",
            "[]:80",
        ] {
            let error = text.parse::<ListenAddr>().unwrap_err();
            assert_eq!(error, InvalidListenAddr(text.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        const TABLE: &[crate::Setting] = &[crate::Setting {
            name: "PGL_API_ADDR",
            help: "",
            default: Some(":8080"),
            secret: crate::Secrecy::Public,
        }];
        let taken = "127.0.0.1:0"
            .parse::<ListenAddr>()
            .unwrap()
            .bind()
            .await
            .unwrap();
        let addr = taken.local_addr().unwrap();
        let settings = Settings::from_pairs(TABLE, [("PGL_API_ADDR", addr.to_string())]).unwrap();
        let setting = ListenSetting::read(&settings, "PGL_API_ADDR").unwrap();
        let error = setting.bind().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("PGL_API_ADDR (given by the program): cannot listen on {addr}: address in use")
        );
    }

    #[tokio::test]
    async fn every_interface_takes_ipv4() {
        let listener = ":0".parse::<ListenAddr>().unwrap().bind().await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = tokio::net::TcpStream::connect(("127.0.0.1", port));
        assert!(client.await.is_ok());
    }
}
