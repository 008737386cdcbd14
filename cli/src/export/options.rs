//! What is exported, from where and to where.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Arg, ArgAction, ArgMatches, Command};
use pglens_core::Secret;

use super::ExportError;

/// The options that narrow the record, with the names of the API's filters.
const FILTERS: &[(&str, &str, &str)] = &[
    ("user", "user_id", "Statements of this user (id)"),
    ("database", "database_id", "On this database (id)"),
    ("grant", "grant_id", "Under this grant (id)"),
    ("connection", "connection_id", "Of this connection (id)"),
    ("sqlstate", "sqlstate", "That ended with this SQLSTATE"),
    ("refused", "refused", "true: refused ones; false: others"),
    ("text", "text", "With this in their text"),
];

/// How the record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Ndjson,
    Parquet,
}

/// Everything that was asked for.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) url: String,
    pub(super) token: Secret<String>,
    pub(super) ca_pem: Option<String>,
    pub(super) filter: Vec<(&'static str, String)>,
    pub(super) format: Format,
    pub(super) rows: bool,
    /// `None`: standard output.
    pub(super) output: Option<PathBuf>,
    pub(super) cursor: Option<String>,
    pub(super) resume: bool,
    pub(super) quiet: bool,
}

pub(crate) fn command() -> Command {
    let value = |name: &'static str, value_name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value_name).help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let command = Command::new("export")
        .about("Write the record of a period as NDJSON or Parquet")
        .after_help(
            "Ends with 0 when all is written, 1 when it broke off (it says how to go on), 2 when it was asked for \
             something that cannot be.",
        )
        .arg(
            value("url", "URL", "The control plane's REST API")
                .env("PGL_API_URL")
                .default_value("http://127.0.0.1:8080"),
        )
        .arg(
            value("token", "TOKEN", "API token of an administrator; better in the environment")
                .env("PGL_API_TOKEN")
                .hide_env_values(true),
        )
        .arg(path("token-file", "File with the token"))
        .arg(path("ca", "PEM file with the authority of the API's certificate"))
        .arg(value("from", "TIME", "Statements begun then or later, RFC 3339").required(true))
        .arg(value("until", "TIME", "Begun before then; by default now"))
        .arg(
            value("format", "FORMAT", "How it is written")
                .value_parser(["ndjson", "parquet"])
                .default_value("ndjson"),
        )
        .arg(flag("rows", "With the rows that were kept; each reading is in the audit log"))
        .arg(path("output", "File to write; by default standard output").short('o'))
        .arg(flag("resume", "Go on with an --output file that was broken off"))
        .arg(value("cursor", "CURSOR", "Go on from there, on standard output").conflicts_with("resume"))
        .arg(flag("quiet", "No progress on standard error"));
    FILTERS.iter().fold(command, |command, (name, _, help)| {
        command.arg(value(name, "VALUE", help))
    })
}

fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(help)
}

impl Options {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, ExportError> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let file = |name: &str| matches.get_one::<PathBuf>(name);
        let usage = |message: &str| Err(ExportError::Usage(message.to_owned()));
        let format = match text("format").as_deref() {
            Some("parquet") => Format::Parquet,
            _ => Format::Ndjson,
        };
        let (rows, resume) = (matches.get_flag("rows"), matches.get_flag("resume"));
        let (output, cursor) = (file("output").cloned(), text("cursor"));
        if (resume || cursor.is_some()) && format == Format::Parquet {
            return usage("--resume, --cursor: a Parquet file is written whole or not at all");
        }
        if resume && output.is_none() {
            return usage("--resume: goes with --output");
        }
        if cursor.is_some() && output.is_some() {
            return usage("--cursor: goes with standard output; use --resume with --output");
        }
        let token = match (text("token"), file("token-file")) {
            (Some(token), None) => token,
            (_, Some(path)) => read(path, "--token-file")?.trim().to_owned(),
            (None, None) => return usage("--token-file or PGL_API_TOKEN is needed"),
        };
        let ca_pem = file("ca").map(|path| read(path, "--ca")).transpose()?;
        let mut filter = vec![
            ("from", time("--from", text("from"))?.unwrap_or_default()),
            (
                "until",
                // Fixed now: pages have one end, however long they take.
                time("--until", text("until"))?.unwrap_or_else(|| Utc::now().to_rfc3339()),
            ),
        ];
        for (name, key, _) in FILTERS {
            filter.extend(text(name).map(|value| (*key, value)));
        }
        Ok(Self {
            url: text("url").unwrap_or_default(),
            token: Secret::new(token),
            ca_pem,
            filter,
            format,
            rows,
            output,
            cursor,
            resume,
            quiet: matches.get_flag("quiet"),
        })
    }
}

fn read(path: &std::path::Path, option: &str) -> Result<String, ExportError> {
    std::fs::read_to_string(path)
        .map_err(|error| ExportError::Usage(format!("{option}: {}: {error}", path.display())))
}

fn time(option: &str, text: Option<String>) -> Result<Option<String>, ExportError> {
    let Some(text) = text else { return Ok(None) };
    let time: DateTime<Utc> = text.parse().map_err(|_| {
        ExportError::Usage(format!(
            "{option}: must be a time like 2026-01-31T00:00:00Z"
        ))
    })?;
    Ok(Some(time.to_rfc3339()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expected: &str) {
        let all = ["export", "--from", "2026-01-01T00:00:00Z", "--token", "x"];
        let matches = command()
            .try_get_matches_from(all.iter().chain(args))
            .unwrap();
        match Options::read(&matches) {
            Ok(options) => assert_eq!(expected, format!("{:?}", options.format)),
            Err(error) => assert!(error.to_string().starts_with(expected), "{error}"),
        }
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        check(&[], "Ndjson");
        check(&["--format", "parquet"], "Parquet");
        check(&["--format", "parquet", "--rows"], "Parquet");
        check(
            &["--format", "parquet", "--cursor", "a"],
            "--resume, --cursor: ",
        );
        check(&["--resume"], "--resume: ");
        check(&["--cursor", "a", "-o", "f"], "--cursor: ");
        check(&["--until", "tomorrow"], "--until: ");
    }
}
