//! Settings from flags and environment, each value with the place it came from.
//!
//! This is the only module that reads the environment. A program has a table of [`Setting`]s; a `PGL_LISTEN_ADDR`
//! in it is also the flag `--listen-addr`. A flag beats the environment, the environment beats the default, and an
//! empty value counts as not given.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// The filter of log lines, in the syntax of `tracing_subscriber::EnvFilter`.
pub const LOG: Setting = Setting {
    name: "PGL_LOG",
    help: "Which log lines are written: a level, or target=level pairs separated by commas",
    // These two tell at INFO what is of interest to their developers only.
    default: Some("info,tokio_postgres=warn,refinery_core=warn"),
    secret: Secrecy::Public,
};

/// The form of log lines.
pub const LOG_FORMAT: Setting = Setting {
    name: "PGL_LOG_FORMAT",
    help: "Form of the log lines: text or json",
    default: Some("text"),
    secret: Secrecy::Public,
};

/// How long an orderly end may take.
pub const SHUTDOWN_GRACE_SECONDS: Setting = Setting {
    name: "PGL_SHUTDOWN_GRACE_SECONDS",
    help: "How long sessions and requests may take to end after SIGTERM",
    default: Some("30"),
    secret: Secrecy::Public,
};

/// Longest duration a setting in seconds may name: ten years. It keeps sums with the clock in range.
const MAX_SETTING_SECONDS: u64 = 10 * 366 * 24 * 60 * 60;

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// The value may appear in help and errors.
    Public,
    /// The value is kept out of help and errors.
    Secret,
}

/// One row of a program's table of settings.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name in the environment, `PGL_…`; the flag is derived from it.
    pub name: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
    /// The value when none is given.
    pub default: Option<&'static str>,
    /// Whether the value may be shown.
    pub secret: Secrecy,
}

impl Setting {
    /// The flag without its dashes: `PGL_LISTEN_ADDR` is `listen-addr`.
    #[must_use]
    pub fn flag(&self) -> String {
        let bare = self.name.strip_prefix("PGL_").unwrap_or(self.name);
        bare.to_ascii_lowercase().replace('_', "-")
    }

    fn arg(&self) -> Arg {
        let help = match self.default {
            Some(default) => format!("{} [default: {default}]", self.help),
            None => self.help.to_owned(),
        };
        Arg::new(self.name)
            .long(self.flag())
            .env(self.name)
            .hide_env_values(self.secret == Secrecy::Secret)
            .value_name("VALUE")
            .value_parser(clap::value_parser!(OsString))
            .help(help)
    }
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Flag,
    Environment,
    Default,
    Embedded,
    Nowhere,
}

/// A setting together with where its value came from: what an error about it has to name.
#[derive(Debug, Clone)]
pub struct Origin {
    setting: &'static str,
    source: Source,
}

impl Origin {
    /// The error that this setting's value leads to, for failures found after parsing (bind, unreadable file).
    #[must_use]
    pub fn error(&self, reason: impl fmt::Display) -> ConfigError {
        ConfigError {
            origin: self.clone(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Flag => "from the command line",
            Source::Environment => "from the environment",
            Source::Default => "default",
            Source::Embedded => "given by the program",
            Source::Nowhere => return f.write_str(self.setting),
        };
        write!(f, "{} ({source})", self.setting)
    }
}

/// A setting that cannot be used. `Display` is the one line for the person who set it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct ConfigError {
    origin: Origin,
    reason: String,
}

impl ConfigError {
    /// The setting at fault.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.origin.setting
    }
}

#[derive(Clone)]
struct Value {
    /// Absent when nothing was given and there is no default; `Err` holds bytes that are not UTF-8.
    text: Option<Result<String, OsString>>,
    origin: Origin,
    secret: Secrecy,
}

/// The values of a program's settings with their sources. `Debug` shows names only.
#[derive(Clone)]
pub struct Settings {
    values: BTreeMap<&'static str, Value>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

impl Settings {
    /// A command with one flag for each setting, each falling back to the environment.
    #[must_use]
    pub fn command(name: &'static str, about: &'static str, table: &[Setting]) -> Command {
        Command::new(name)
            .about(about)
            .version(env!("CARGO_PKG_VERSION"))
            .args(table.iter().map(Setting::arg))
    }

    /// Takes the values of `table` out of the matches of [`Settings::command`].
    #[must_use]
    pub fn from_matches(table: &[Setting], matches: &ArgMatches) -> Self {
        let values = table.iter().map(|setting| {
            let given = matches
                .try_get_one::<OsString>(setting.name)
                .ok()
                .flatten()
                .filter(|text| !text.is_empty());
            let source = match matches.value_source(setting.name) {
                Some(ValueSource::CommandLine) => Source::Flag,
                _ => Source::Environment,
            };
            let given = given.map(|text| (text.clone().into_string(), source));
            (setting.name, Value::new(setting, given))
        });
        Self {
            values: values.collect(),
        }
    }

    /// Settings for a plane inside another program, or inside a test; the environment is not looked at.
    ///
    /// # Errors
    /// When a name is not in `table`.
    pub fn from_pairs<'a>(
        table: &'static [Setting],
        pairs: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<Self, ConfigError> {
        let mut given: BTreeMap<&str, String> = pairs.into_iter().collect();
        let mut values = BTreeMap::new();
        for setting in table {
            let text = given.remove(setting.name).filter(|text| !text.is_empty());
            let text = text.map(|text| (Ok(text), Source::Embedded));
            values.insert(setting.name, Value::new(setting, text));
        }
        match given.into_keys().next() {
            None => Ok(Self { values }),
            Some(name) => Err(not_in_table(name)),
        }
    }

    /// Parses the value of `name` if there is one.
    ///
    /// # Errors
    /// When `parse` refuses the value, or it is not UTF-8.
    pub fn optional<T, E: fmt::Display>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let value = self.values.get(name).ok_or_else(|| not_in_table(name))?;
        match &value.text {
            None => Ok(None),
            Some(Err(_)) => Err(value.origin.error("is not valid UTF-8")),
            Some(Ok(text)) => parse(text)
                .map(Some)
                .map_err(|reason| self.invalid(name, reason)),
        }
    }

    /// Parses the value of `name`, which must be there.
    ///
    /// # Errors
    /// When there is no value, `parse` refuses it, or it is not UTF-8.
    pub fn required<T, E: fmt::Display>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        self.optional(name, parse)?
            .ok_or_else(|| self.invalid(name, "is required and was not given"))
    }

    /// The value of `name` as it was given.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        self.optional(name, |text| Ok::<_, fmt::Error>(text.to_owned()))
    }

    /// Whether a person gave a value, as opposed to the default.
    #[must_use]
    pub fn is_given(&self, name: &'static str) -> bool {
        !matches!(self.origin(name).source, Source::Default | Source::Nowhere)
    }

    /// The error that the value of `name` leads to. A secret that slipped into `reason` is taken out again.
    #[must_use]
    pub fn invalid(&self, name: &'static str, reason: impl fmt::Display) -> ConfigError {
        let mut error = self.origin(name).error(reason);
        if let Some(Value {
            text: Some(Ok(text)),
            secret: Secrecy::Secret,
            ..
        }) = self.values.get(name)
        {
            error.reason = error.reason.replace(text.as_str(), "[secret]");
        }
        error
    }

    /// Where the value of `name` came from, to be kept with what was made of it.
    #[must_use]
    pub fn origin(&self, name: &'static str) -> Origin {
        match self.values.get(name) {
            Some(value) => value.origin.clone(),
            None => not_in_table(name).origin,
        }
    }
}

impl Value {
    fn new(setting: &Setting, given: Option<(Result<String, OsString>, Source)>) -> Self {
        let (text, source) = match (given, setting.default) {
            (Some((text, source)), _) => (Some(text), source),
            (None, Some(default)) => (Some(Ok(default.to_owned())), Source::Default),
            (None, None) => (None, Source::Nowhere),
        };
        Self {
            text,
            origin: Origin {
                setting: setting.name,
                source,
            },
            secret: setting.secret,
        }
    }
}

fn not_in_table(name: &str) -> ConfigError {
    ConfigError {
        origin: Origin {
            setting: "settings",
            source: Source::Nowhere,
        },
        reason: format!("there is no setting {name} here"),
    }
}

/// Reads `true` or `false`.
///
/// # Errors
/// On any other word.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("\"{text}\" is not one of true, false")),
    }
}

/// Makes a parser for whole numbers of a range.
pub fn parse_number<T>(range: std::ops::RangeInclusive<T>) -> impl FnOnce(&str) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    move |text| match text.parse::<T>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "\"{text}\" is not a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// Reads a whole number of seconds, at least one.
///
/// # Errors
/// On anything else, and beyond ten years.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    parse_number(1..=MAX_SETTING_SECONDS)(text).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
