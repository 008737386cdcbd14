//! What `pglens dev` was asked for.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use pglens_pgserver::PgBinaries;
use pglens_runtime::config::{
    LOG, LOG_FORMAT, SHUTDOWN_GRACE_SECONDS, parse_number, parse_seconds,
};
use pglens_runtime::{ConfigError, ListenAddr, ListenSetting, Origin, Secrecy, Setting, Settings};

const DATA_DIR: &str = "PGL_DATA_DIR";
const LISTEN_ADDR: &str = "PGL_LISTEN_ADDR";
const API_ADDR: &str = "PGL_API_ADDR";
const POSTGRES_PORT: &str = "PGL_POSTGRES_PORT";
const POSTGRES_BIN: &str = "PGL_POSTGRES_BIN";

/// The settings of `pglens dev` itself. Those that a plane has as well differ in their defaults.
const OWN: [Setting; 8] = [
    own(
        DATA_DIR,
        "Folder that everything is kept in",
        Some(".pglens"),
    ),
    own(
        LISTEN_ADDR,
        "Where the proxy listens; port 0 is any free one",
        Some("127.0.0.1:5001"),
    ),
    own(
        API_ADDR,
        "Where the REST API listens; port 0 is any free one",
        Some("127.0.0.1:8080"),
    ),
    own(
        POSTGRES_PORT,
        "Port of the private PostgreSQL on 127.0.0.1; 0 is any free one",
        Some("5000"),
    ),
    own(
        POSTGRES_BIN,
        "Folder of initdb and postgres, when they are not found by themselves",
        None,
    ),
    Setting {
        default: Some("warn"),
        ..LOG
    },
    LOG_FORMAT,
    Setting {
        default: Some("5"),
        ..SHUTDOWN_GRACE_SECONDS
    },
];

/// Settings of the planes that `pglens dev` sets itself.
const MANAGED: [&str; 16] = [
    "PGL_DSN",
    "PGL_KEY",
    "PGL_KEYFILE",
    "PGL_OPS_ADDR",
    "PGL_ADMIN_PASSWORD",
    "PGL_GRPC_ADDR",
    "PGL_GRPC_TLS_CERT",
    "PGL_GRPC_TLS_KEY",
    "PGL_GRPC_CLIENT_CA",
    "PGL_CONTROL_URLS",
    "PGL_CONTROL_CA",
    "PGL_CONTROL_CERT",
    "PGL_CONTROL_KEY",
    "PGL_TLS_CERT",
    "PGL_TLS_KEY",
    "PGL_SPOOL_DIR",
];

const fn own(name: &'static str, help: &'static str, default: Option<&'static str>) -> Setting {
    Setting {
        name,
        help,
        default,
        secret: Secrecy::Public,
    }
}

/// Settings by name and value, as `Settings::from_pairs` takes them and an environment holds them.
pub(super) type Pairs = Vec<(&'static str, String)>;

/// What is no setting but a wish for this one start.
#[derive(Debug, Clone)]
pub(super) struct Wishes {
    pub(super) ready_file: Option<PathBuf>,
    pub(super) processes: bool,
    pub(super) fresh: bool,
}

/// Everything `pglens dev` was asked for, checked as far as that goes without touching anything.
#[derive(Debug)]
pub(super) struct DevOptions {
    pub(super) wishes: Wishes,
    pub(super) data_dir: PathBuf,
    pub(super) data_dir_origin: Origin,
    pub(super) proxy: Wanted,
    pub(super) api: Wanted,
    pub(super) postgres: Wanted,
    /// Any free port of this machine, for what nobody connects to by hand.
    pub(super) internal: Wanted,
    pub(super) shutdown_grace: Duration,
    pub(super) binaries: PgBinaries,
    /// Settings of the planes that were given and are handed on, such as `PGL_LEASE_SECONDS`.
    pub(super) control_plane: Pairs,
    pub(super) data_plane: Pairs,
}

/// An address to listen on; one that nobody asked for may be changed when it is taken.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) setting: ListenSetting,
    pub(super) is_given: bool,
}

pub(super) fn command() -> Command {
    let about = "Run everything on this machine: PostgreSQL with a sample database, control plane and data plane";
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    Settings::command("dev", about, &table())
        .arg(
            Arg::new("ready-file")
                .long("ready-file")
                .value_name("PATH")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Write a JSON object with addresses and passwords there when all is ready"),
        )
        .arg(flag(
            "processes",
            "Run the planes as processes of their own; one that dies is started again",
        ))
        .arg(flag("fresh", "Wipe the data folder first"))
}

/// Own settings first: of two with one name the first is taken.
fn table() -> Vec<Setting> {
    let planes = pglens_control_plane::SETTINGS
        .iter()
        .chain(pglens_data_plane::SETTINGS);
    let mut table = OWN.to_vec();
    for setting in planes.filter(|setting| !MANAGED.contains(&setting.name)) {
        if !table.iter().any(|known| known.name == setting.name) {
            table.push(*setting);
        }
    }
    table
}

pub(super) fn read(matches: &ArgMatches) -> (Wishes, Settings) {
    let wishes = Wishes {
        ready_file: matches.get_one("ready-file").cloned(),
        processes: matches.get_flag("processes"),
        fresh: matches.get_flag("fresh"),
    };
    (wishes, Settings::from_matches(&table(), matches))
}

impl DevOptions {
    pub(super) fn new(wishes: Wishes, settings: &Settings) -> Result<Self, ConfigError> {
        let explicit = settings.text(POSTGRES_BIN)?.map(PathBuf::from);
        let binaries = PgBinaries::find(explicit.as_deref())
            .map_err(|error| settings.invalid(POSTGRES_BIN, error))?;
        Ok(Self {
            wishes,
            data_dir: settings.required(DATA_DIR, str::parse)?,
            data_dir_origin: settings.origin(DATA_DIR),
            proxy: Wanted::read(settings, LISTEN_ADDR)?,
            api: Wanted::read(settings, API_ADDR)?,
            postgres: Wanted::local(settings, parse_number(0..=u16::MAX))?,
            internal: Wanted::local(settings, |_| Ok::<_, String>(0))?,
            shutdown_grace: settings.required(SHUTDOWN_GRACE_SECONDS.name, parse_seconds)?,
            binaries,
            control_plane: handed_on(settings, pglens_control_plane::SETTINGS)?,
            data_plane: handed_on(settings, pglens_data_plane::SETTINGS)?,
        })
    }
}

impl Wanted {
    fn read(settings: &Settings, name: &'static str) -> Result<Self, ConfigError> {
        Ok(Self {
            setting: ListenSetting::read(settings, name)?,
            is_given: settings.is_given(name),
        })
    }

    /// On 127.0.0.1, with the port that `parse` makes of the setting for PostgreSQL's.
    fn local<E: Display>(
        settings: &Settings,
        parse: impl FnOnce(&str) -> Result<u16, E>,
    ) -> Result<Self, ConfigError> {
        let port = settings.required(POSTGRES_PORT, parse)?;
        Ok(Self {
            setting: ListenSetting::new(ListenAddr::local(port), settings.origin(POSTGRES_PORT)),
            is_given: settings.is_given(POSTGRES_PORT),
        })
    }
}

/// What was given for a plane. Logs and grace always go along, since their defaults here are not the planes'.
fn handed_on(settings: &Settings, table: &'static [Setting]) -> Result<Pairs, ConfigError> {
    let always = [LOG.name, LOG_FORMAT.name, SHUTDOWN_GRACE_SECONDS.name];
    let mut pairs = Pairs::new();
    for Setting { name, .. } in table {
        let own = [LISTEN_ADDR, API_ADDR].contains(name) || MANAGED.contains(name);
        if own || !(always.contains(name) || settings.is_given(name)) {
            continue;
        }
        if let Some(value) = settings.text(name)? {
            pairs.push((name, value));
        }
    }
    Ok(pairs)
}
