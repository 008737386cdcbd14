//! The settings of the control plane.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pglens_core::{AuditLevel, Secret, limits};
use pglens_runtime::config::{
    LOG, LOG_FORMAT, SHUTDOWN_GRACE_SECONDS, parse_bool, parse_number, parse_seconds,
};
use pglens_runtime::listen::io_reason;
use pglens_runtime::{ConfigError, ListenSetting, Secrecy, Setting, Settings, tls};

use crate::app::SessionDefaults;
use crate::crypto::keyring::KeyRing;
use crate::feed::config::{Endpoint, Headers};
use crate::feed::{self, FeedConfig};
use crate::ingest::retention::Retention;
use crate::rpc::tls::{GrpcTls, GrpcTlsFiles};
use crate::service::validate;
use crate::storage::Dsn;

const DSN: &str = "PGL_DSN";
const KEY: &str = "PGL_KEY";
const KEYFILE: &str = "PGL_KEYFILE";
const API_ADDR: &str = "PGL_API_ADDR";
const GRPC_ADDR: &str = "PGL_GRPC_ADDR";
const OPS_ADDR: &str = "PGL_OPS_ADDR";
const GRPC_TLS_CERT: &str = "PGL_GRPC_TLS_CERT";
const GRPC_TLS_KEY: &str = "PGL_GRPC_TLS_KEY";
const GRPC_CLIENT_CA: &str = "PGL_GRPC_CLIENT_CA";
const ADMIN_PASSWORD: &str = "PGL_ADMIN_PASSWORD";
const LEASE_SECONDS: &str = "PGL_LEASE_SECONDS";
const STORAGE_POOL_SIZE: &str = "PGL_STORAGE_POOL_SIZE";
const AUDIT_LEVEL: &str = "PGL_AUDIT_LEVEL";
const CAPTURE_MAX_ROWS: &str = "PGL_CAPTURE_MAX_ROWS";
const CAPTURE_MAX_BYTES: &str = "PGL_CAPTURE_MAX_BYTES";
const RETENTION_DAYS: &str = "PGL_RETENTION_DAYS";
const RETENTION_ROWS_DAYS: &str = "PGL_RETENTION_ROWS_DAYS";
const FEED_ENDPOINT: &str = "PGL_FEED_ENDPOINT";
const FEED_HEADERS: &str = "PGL_FEED_HEADERS";
const FEED_CA: &str = "PGL_FEED_CA";
const FEED_QUERY_TEXT: &str = "PGL_FEED_QUERY_TEXT";

/// A shorter lease would end sessions over a lost heartbeat or two.
const MIN_LEASE: Duration = limits::HEARTBEAT_INTERVAL.saturating_mul(3);
/// Keeps times in the range of PostgreSQL's dates.
const MAX_RETENTION_DAYS: u32 = 36_500;

pub(crate) const DSN_SETTING: Setting = secret(
    DSN,
    "Storage database: a postgres:// URL or key=value pairs",
);
pub(crate) const KEY_SETTING: Setting = secret(
    KEY,
    "Master keys, base64 of 32 bytes each, separated by commas; the first one seals",
);
pub(crate) const KEYFILE_SETTING: Setting =
    public(KEYFILE, "File with master keys, one a line", None);
pub(crate) const RETENTION_SETTING: Setting = public(
    RETENTION_DAYS,
    "Days after which statements are dropped with their parameters",
    Some("90"),
);
pub(crate) const RETENTION_ROWS_SETTING: Setting = public(
    RETENTION_ROWS_DAYS,
    "Days after which captured rows are dropped; as statements when not given",
    None,
);

/// Every setting of the control plane.
pub const SETTINGS: &[Setting] = &[
    DSN_SETTING,
    KEY_SETTING,
    KEYFILE_SETTING,
    public(API_ADDR, "Address of the REST API", Some(":8080")),
    public(
        GRPC_ADDR,
        "Address of the gRPC API, for proxies and administration",
        Some(":8443"),
    ),
    public(
        OPS_ADDR,
        "Address of /livez, /readyz and /metrics",
        Some(":9090"),
    ),
    public(
        GRPC_TLS_CERT,
        "PEM file with the certificate of the gRPC API",
        None,
    ),
    public(
        GRPC_TLS_KEY,
        "PEM file with the key of that certificate",
        None,
    ),
    public(
        GRPC_CLIENT_CA,
        "PEM file with the authority of the proxies' certificates",
        None,
    ),
    secret(
        ADMIN_PASSWORD,
        "Password of the first administrator, used when there is none yet",
    ),
    public(
        LEASE_SECONDS,
        "How long sessions go on without a control plane",
        Some("300"),
    ),
    public(
        STORAGE_POOL_SIZE,
        "Connections to the storage database",
        Some("16"),
    ),
    public(
        AUDIT_LEVEL,
        "Record of grants that do not say: spooled",
        Some("spooled"),
    ),
    public(
        CAPTURE_MAX_ROWS,
        "Rows kept for each statement",
        Some("100000"),
    ),
    public(
        CAPTURE_MAX_BYTES,
        "Bytes of rows kept for each statement",
        Some("67108864"),
    ),
    RETENTION_SETTING,
    RETENTION_ROWS_SETTING,
    public(
        FEED_ENDPOINT,
        "Collector that gets the record as OTLP logs over gRPC: http://host:port or https://host:port",
        None,
    ),
    secret(
        FEED_HEADERS,
        "Headers for the collector: name=value pairs separated by commas, values percent-encoded",
    ),
    public(
        FEED_CA,
        "PEM file with the authority of the collector's certificate; the system's when not given",
        None,
    ),
    public(
        FEED_QUERY_TEXT,
        "Whether the collector gets the text of statements",
        Some("true"),
    ),
    LOG,
    LOG_FORMAT,
    SHUTDOWN_GRACE_SECONDS,
];

const fn public(name: &'static str, help: &'static str, default: Option<&'static str>) -> Setting {
    Setting {
        name,
        help,
        default,
        secret: Secrecy::Public,
    }
}

const fn secret(name: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        help,
        default: None,
        secret: Secrecy::Secret,
    }
}

/// The settings, checked as far as they can be without the network.
#[derive(Debug, Clone)]
pub struct Config {
    /// The storage database.
    pub storage: Dsn,
    /// Connections to it.
    pub storage_pool_size: usize,
    /// The master keys.
    pub keys: Arc<KeyRing>,
    /// The REST API.
    pub api: ListenSetting,
    /// The gRPC API.
    pub grpc: ListenSetting,
    /// Probes and metrics.
    pub operations: ListenSetting,
    /// Certificates of the gRPC API.
    pub grpc_tls: Arc<GrpcTls>,
    /// The first administrator's password; absent: the well-known one.
    pub admin_password: Option<Secret<String>>,
    /// Where the record is sent besides; absent: nowhere.
    pub feed: Option<FeedConfig>,
    /// What sessions get by default.
    pub session_defaults: SessionDefaults,
    /// How long requests may take to finish when the process ends.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Reads and checks every setting, and the files some of them name.
    ///
    /// # Errors
    /// On the first that cannot be used.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            storage: dsn(settings)?,
            storage_pool_size: settings.required(STORAGE_POOL_SIZE, parse_number(2..=1000))?,
            keys: Arc::new(keys(settings)?),
            api: ListenSetting::read(settings, API_ADDR)?,
            grpc: ListenSetting::read(settings, GRPC_ADDR)?,
            operations: ListenSetting::read(settings, OPS_ADDR)?,
            grpc_tls: grpc_tls(settings)?,
            admin_password: settings.optional(ADMIN_PASSWORD, admin_password)?,
            feed: feed(settings)?,
            session_defaults: SessionDefaults {
                lease: settings.required(LEASE_SECONDS, lease)?,
                audit_level: settings.required(AUDIT_LEVEL, audit_level)?,
                capture_max_rows: settings
                    .required(CAPTURE_MAX_ROWS, parse_number(0..=u64::from(u32::MAX)))?,
                capture_max_bytes: settings
                    .required(CAPTURE_MAX_BYTES, parse_number(0..=1_u64 << 40))?,
                retention: retention(settings)?,
            },
            shutdown_grace: settings.required(SHUTDOWN_GRACE_SECONDS.name, parse_seconds)?,
        })
    }
}

/// Rows may go before their statements, not after them: nothing would lead to them any more.
pub(crate) fn retention(settings: &Settings) -> Result<Retention, ConfigError> {
    let days = || parse_number(1..=MAX_RETENTION_DAYS);
    let statements_days = settings.required(RETENTION_DAYS, days())?;
    let rows_days = settings.optional(RETENTION_ROWS_DAYS, days())?;
    match rows_days {
        Some(rows_days) if rows_days > statements_days => Err(settings.invalid(
            RETENTION_ROWS_DAYS,
            "rows cannot be kept longer than their statements (PGL_RETENTION_DAYS)",
        )),
        rows_days => Ok(Retention {
            statements_days,
            rows_days: rows_days.unwrap_or(statements_days),
        }),
    }
}

fn feed(settings: &Settings) -> Result<Option<FeedConfig>, ConfigError> {
    let endpoint = settings.optional(FEED_ENDPOINT, Endpoint::parse)?;
    let headers = settings.optional(FEED_HEADERS, Headers::parse)?;
    let ca = settings.optional(FEED_CA, feed::config::ca_file)?;
    let has_query_text = settings.required(FEED_QUERY_TEXT, parse_bool)?;
    let Some(endpoint) = endpoint else {
        let given = [FEED_HEADERS, FEED_CA];
        return match given.into_iter().find(|name| settings.is_given(name)) {
            Some(name) => Err(settings.invalid(name, "PGL_FEED_ENDPOINT is not given")),
            None => Ok(None),
        };
    };
    if ca.is_some() && !endpoint.is_tls() {
        return Err(settings.invalid(FEED_CA, "PGL_FEED_ENDPOINT is not https"));
    }
    Ok(Some(FeedConfig {
        endpoint,
        headers: headers.unwrap_or_default(),
        ca,
        has_query_text,
    }))
}

pub(crate) fn dsn(settings: &Settings) -> Result<Dsn, ConfigError> {
    settings.required(DSN, Dsn::parse)
}

pub(crate) fn keys(settings: &Settings) -> Result<KeyRing, ConfigError> {
    match (settings.is_given(KEY), settings.is_given(KEYFILE)) {
        (true, true) => {
            Err(settings.invalid(KEYFILE, "PGL_KEY is given as well; give one of them"))
        }
        (false, true) => settings.required(KEYFILE, |path| {
            let text = read_file(Path::new(path))?;
            KeyRing::parse(&text).map_err(|error| format!("{path}: {error}"))
        }),
        (true, false) => settings.required(KEY, KeyRing::parse),
        (false, false) => {
            Err(settings.invalid(KEY, "is required and was not given, nor was PGL_KEYFILE"))
        }
    }
}

fn admin_password(text: &str) -> Result<Secret<String>, String> {
    let password = Secret::new(text.to_owned());
    match validate::password("password", &password) {
        Ok(()) => Ok(password),
        Err(error) => Err(error.to_string()),
    }
}

fn audit_level(text: &str) -> Result<AuditLevel, String> {
    text.parse::<AuditLevel>()
        .map_err(|unknown| unknown.to_string())
}

fn lease(text: &str) -> Result<Duration, String> {
    match parse_seconds(text)? {
        lease if lease < MIN_LEASE => Err(format!(
            "must be at least {} (three heartbeats)",
            MIN_LEASE.as_secs()
        )),
        lease => Ok(lease),
    }
}

fn grpc_tls(settings: &Settings) -> Result<Arc<GrpcTls>, ConfigError> {
    // The files are parsed here so that the setting at fault is named.
    settings.required(GRPC_TLS_CERT, |path| tls::load_certs(Path::new(path)))?;
    settings.required(GRPC_TLS_KEY, |path| tls::load_key(Path::new(path)))?;
    settings.required(GRPC_CLIENT_CA, |path| tls::load_certs(Path::new(path)))?;
    let path = |text: &str| Ok::<_, String>(PathBuf::from(text));
    let files = GrpcTlsFiles {
        certificate: settings.required(GRPC_TLS_CERT, path)?,
        key: settings.required(GRPC_TLS_KEY, path)?,
        client_ca: settings.required(GRPC_CLIENT_CA, path)?,
    };
    GrpcTls::load(files).map_err(|error| settings.invalid(GRPC_TLS_CERT, error))
}

fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {}", path.display(), io_reason(&error)))
}
