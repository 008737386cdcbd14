//! The settings of a data plane.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pglens_runtime::config::Origin;
use pglens_runtime::config::{
    LOG, LOG_FORMAT, SHUTDOWN_GRACE_SECONDS, parse_bool, parse_number, parse_seconds,
};
use pglens_runtime::listen::io_reason;
use pglens_runtime::tls::{load_certs, load_key};
use pglens_runtime::{ConfigError, ListenSetting, Secrecy, Setting, Settings};

use crate::audit::outbox::SpoolLimits;
use crate::control::channel::{ControlConfig, IdentityFiles};
use crate::tls::{ClientTls, TlsFiles};

/// The largest statement that can be recorded must fit into the half of the spool that is for statements.
const MIN_SPOOL_BYTES: u64 = 16 * 1024 * 1024;
/// Several batches under way must fit.
const MIN_RECORD_BUFFER_BYTES: usize = 4 * 1024 * 1024;

const fn public(name: &'static str, help: &'static str, default: Option<&'static str>) -> Setting {
    Setting {
        name,
        help,
        default,
        secret: Secrecy::Public,
    }
}

/// Every setting of a data plane.
pub const SETTINGS: &[Setting] = &[
    public(
        "PGL_LISTEN_ADDR",
        "Where PostgreSQL clients connect",
        Some(":5432"),
    ),
    public(
        "PGL_OPS_ADDR",
        "Where /livez, /readyz and /metrics are served",
        Some(":9091"),
    ),
    public(
        "PGL_CONTROL_URLS",
        "Control planes, https://host:port separated by commas",
        None,
    ),
    public(
        "PGL_CONTROL_CA",
        "PEM file with the CA of the control planes' certificates",
        None,
    ),
    public(
        "PGL_CONTROL_CERT",
        "PEM file with the certificate this proxy proves itself with",
        None,
    ),
    public("PGL_CONTROL_KEY", "PEM file with its private key", None),
    public(
        "PGL_TLS_CERT",
        "PEM file with the certificate shown to clients",
        None,
    ),
    public("PGL_TLS_KEY", "PEM file with its private key", None),
    public(
        "PGL_TLS_REQUIRED",
        "Whether clients without TLS are refused",
        Some("false"),
    ),
    public(
        "PGL_CLIENT_AUTH",
        "How clients log in: scram-sha-256, or password (only ever inside TLS)",
        Some("scram-sha-256"),
    ),
    public(
        "PGL_PROXY_PROTOCOL_NETWORKS",
        "Load balancers whose connections begin with a PROXY header: networks separated by commas",
        None,
    ),
    public("PGL_MAX_SESSIONS", "Most sessions at once", Some("2000")),
    public(
        "PGL_MAX_STARTING",
        "Most connections at once that are not logged in; the oldest makes room",
        Some("2048"),
    ),
    public(
        "PGL_SPOOL_DIR",
        "Folder for records that the control plane has not acknowledged, on a local disk",
        Some("/var/lib/pglens/spool"),
    ),
    public(
        "PGL_SPOOL_MAX_BYTES",
        "Most the records in that folder may take",
        Some("1073741824"),
    ),
    public(
        "PGL_SESSION_THREADS",
        "Threads that sessions run on; 0 is half as many as there are processors",
        Some("0"),
    ),
    public(
        "PGL_RECORD_BUFFER_BYTES",
        "Memory for the newest of these records, which need not be read back from disk",
        Some("16777216"),
    ),
    SHUTDOWN_GRACE_SECONDS,
    LOG,
    LOG_FORMAT,
];

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    ScramSha256,
    Password,
}

impl FromStr for ClientAuth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "scram-sha-256" => Ok(Self::ScramSha256),
            "password" => Ok(Self::Password),
            _ => Err(format!("\"{text}\" is not one of scram-sha-256, password")),
        }
    }
}

/// The other half of the processors is for the record's way out, TLS handshakes and the kernel's part of the traffic.
fn default_session_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2))
}

/// A data plane's settings, read and checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) listen: ListenSetting,
    pub(crate) operations: ListenSetting,
    pub(crate) control: ControlConfig,
    pub(crate) tls: Arc<ClientTls>,
    pub(crate) tls_required: bool,
    pub(crate) client_auth: ClientAuth,
    pub(crate) proxy_protocol_networks: Vec<IpNet>,
    pub(crate) max_sessions: usize,
    pub(crate) max_starting: usize,
    pub(crate) spool: SpoolSetting,
    pub(crate) session_threads: usize,
    pub(crate) shutdown_grace: Duration,
}

impl Config {
    /// Reads the settings, and the files they name.
    ///
    /// # Errors
    /// When one is missing, malformed, or names a file that cannot be used.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let tls = client_tls(settings)?;
        let tls_required = settings.required("PGL_TLS_REQUIRED", parse_bool)?;
        if tls_required && !tls.is_configured() {
            return Err(settings.invalid("PGL_TLS_REQUIRED", "needs PGL_TLS_CERT and PGL_TLS_KEY"));
        }
        let client_auth = settings.required("PGL_CLIENT_AUTH", str::parse)?;
        if client_auth == ClientAuth::Password && !tls.is_configured() {
            let reason =
                "a password is only accepted inside TLS: PGL_TLS_CERT and PGL_TLS_KEY are needed";
            return Err(settings.invalid("PGL_CLIENT_AUTH", reason));
        }
        Ok(Self {
            listen: ListenSetting::read(settings, "PGL_LISTEN_ADDR")?,
            operations: ListenSetting::read(settings, "PGL_OPS_ADDR")?,
            control: control(settings)?,
            tls,
            tls_required,
            client_auth,
            proxy_protocol_networks: settings
                .optional("PGL_PROXY_PROTOCOL_NETWORKS", networks)?
                .unwrap_or_default(),
            max_sessions: settings.required("PGL_MAX_SESSIONS", parse_number(1..=1_000_000))?,
            session_threads: match settings
                .required("PGL_SESSION_THREADS", parse_number(0..=1024))?
            {
                0 => default_session_threads(),
                count => count,
            },
            max_starting: settings.required("PGL_MAX_STARTING", parse_number(1..=1_000_000))?,
            spool: SpoolSetting::read(settings)?,
            shutdown_grace: settings.required(SHUTDOWN_GRACE_SECONDS.name, parse_seconds)?,
        })
    }
}

/// Where records are kept until they are acknowledged, and how much of them.
#[derive(Debug, Clone)]
pub(crate) struct SpoolSetting {
    pub(crate) folder: PathBuf,
    pub(crate) limits: SpoolLimits,
    /// For the error when the folder cannot be used.
    pub(crate) origin: Origin,
}

impl SpoolSetting {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let folder = |text: &str| Ok::<_, String>(PathBuf::from(text));
        Ok(Self {
            folder: settings.required("PGL_SPOOL_DIR", folder)?,
            limits: SpoolLimits {
                disk_bytes: settings.required(
                    "PGL_SPOOL_MAX_BYTES",
                    parse_number(MIN_SPOOL_BYTES..=u64::MAX / 4),
                )?,
                memory_bytes: settings.required(
                    "PGL_RECORD_BUFFER_BYTES",
                    parse_number(MIN_RECORD_BUFFER_BYTES..=usize::MAX / 4),
                )?,
            },
            origin: settings.origin("PGL_SPOOL_DIR"),
        })
    }

    /// What is wrong with the folder, for the person who named it.
    pub(crate) fn unusable(&self, error: &std::io::Error) -> ConfigError {
        let folder = self.folder.display();
        let reason = io_reason(error);
        self.origin
            .error(format!("cannot keep records in {folder}: {reason}"))
    }
}

fn control(settings: &Settings) -> Result<ControlConfig, ConfigError> {
    let urls = settings.required("PGL_CONTROL_URLS", control_urls)?;
    // The files are parsed here so that the setting at fault is named.
    settings.required("PGL_CONTROL_CA", |path| load_certs(Path::new(path)))?;
    settings.required("PGL_CONTROL_CERT", |path| load_certs(Path::new(path)))?;
    settings.required("PGL_CONTROL_KEY", |path| load_key(Path::new(path)))?;
    let path = |text: &str| Ok::<_, String>(PathBuf::from(text));
    let files = IdentityFiles {
        ca: settings.required("PGL_CONTROL_CA", path)?,
        certificate: settings.required("PGL_CONTROL_CERT", path)?,
        key: settings.required("PGL_CONTROL_KEY", path)?,
    };
    let identity = files.read();
    Ok(ControlConfig {
        urls,
        identity: identity.map_err(|error| settings.invalid("PGL_CONTROL_CERT", error))?,
        files,
    })
}

fn control_urls(text: &str) -> Result<Vec<String>, String> {
    text.split(',')
        .map(str::trim)
        .map(|url| match url.strip_prefix("https://") {
            Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => {
                Ok(url.to_owned())
            }
            _ => Err(format!("\"{url}\" is not of the form https://host:port")),
        })
        .collect()
}

fn client_tls(settings: &Settings) -> Result<Arc<ClientTls>, ConfigError> {
    // The files are parsed here so that the setting at fault is named.
    settings.optional("PGL_TLS_CERT", |path| load_certs(Path::new(path)))?;
    settings.optional("PGL_TLS_KEY", |path| load_key(Path::new(path)))?;
    let path = |text: &str| Ok::<_, String>(PathBuf::from(text));
    let certificate = settings.optional("PGL_TLS_CERT", path)?;
    let key = settings.optional("PGL_TLS_KEY", path)?;
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(settings.invalid("PGL_TLS_CERT", "needs PGL_TLS_KEY as well"));
        }
        (None, Some(_)) => {
            return Err(settings.invalid("PGL_TLS_KEY", "needs PGL_TLS_CERT as well"));
        }
    };
    ClientTls::load(files).map_err(|error| settings.invalid("PGL_TLS_CERT", error))
}

/// Networks, or single addresses, separated by commas.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    text.split(',')
        .map(str::trim)
        .map(|one| {
            let address = one.parse::<IpAddr>().map(IpNet::from);
            address
                .or_else(|_| one.parse::<IpNet>())
                .map_err(|_| format!("\"{one}\" is not a network like 10.0.0.0/8, nor an address"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pairs: &[(&'static str, &str)]) -> String {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let settings = Settings::from_pairs(SETTINGS, pairs).unwrap();
        Config::from_settings(&settings).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_setting() {
        assert_eq!(
            error(&[("PGL_TLS_REQUIRED", "true")]),
            "PGL_TLS_REQUIRED (given by the program): needs PGL_TLS_CERT and PGL_TLS_KEY"
        );
        assert_eq!(
            error(&[("PGL_CONTROL_URLS", "http://x:1")]),
            "PGL_CONTROL_URLS (given by the program): \"http://x:1\" is not of the form https://host:port"
        );
        assert!(error(&[]).starts_with("PGL_CONTROL_URLS"));
        let missing = error(&[
            ("PGL_CONTROL_URLS", "https://a:1,https://b:2"),
            ("PGL_CONTROL_CA", "/nonexistent/ca.pem"),
        ]);
        assert_eq!(
            missing,
            "PGL_CONTROL_CA (given by the program): cannot read /nonexistent/ca.pem: no such file or directory"
        );
        assert!(error(&[("PGL_CLIENT_AUTH", "password")]).contains("only accepted inside TLS"));
        assert!(error(&[("PGL_TLS_CERT", "/nonexistent")]).starts_with("PGL_TLS_CERT"));
    }

    #[test]
    fn networks_are_networks_or_addresses() {
        let read = networks("10.0.0.0/8, 192.0.2.7,2001:db8::/32,::1").unwrap();
        let holds = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            read.iter().any(|network| network.contains(&address))
        };
        for inside in ["10.1.2.3", "192.0.2.7", "2001:db8::7", "::1"] {
            assert!(holds(inside), "{inside}");
        }
        for outside in ["11.0.0.0", "192.0.2.8", "::2", "::ffff:10.1.2.3"] {
            assert!(!holds(outside), "{outside}");
        }
        assert!(networks("10.0.0.0/33").is_err() && networks("").is_err());
    }
}
