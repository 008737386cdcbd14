//! `pglens export`: the record of a period through the API, as NDJSON or Parquet, to a file or standard output.

mod api;
mod columns;
mod http;
mod ndjson;
mod options;
mod place;
mod progress;

use std::process::ExitCode;

use clap::ArgMatches;
use pglens_runtime::Chain;
use serde_json::Value;

use api::Api;
use ndjson::Ndjson;
use options::{Format, Options};
use place::Place;
use progress::Progress;

pub(crate) use options::command;

/// What was asked for cannot be done; the rest is the exit code 1.
const EXIT_USAGE: u8 = 2;

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("{0}")]
    Usage(String),
    #[error("{what}: {reason}")]
    Api { what: String, reason: String },
    #[error("{what} cannot be written")]
    Output {
        what: String,
        source: std::io::Error,
    },
    #[error("the Parquet file cannot be made")]
    Parquet(#[from] parquet::errors::ParquetError),
}

impl ExportError {
    fn output(what: &str) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Output {
            what: what.to_owned(),
            source,
        }
    }
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pglens export: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exported = Options::read(matches).and_then(|options| runtime.block_on(export(&options)));
    match exported {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pglens export: {}", Chain(&error));
            match error {
                ExportError::Usage(_) => ExitCode::from(EXIT_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn export(options: &Options) -> Result<(), ExportError> {
    let api = Api::new(options)?;
    let mut place = Place::open(options)?;
    let mut progress = Progress::new(options.quiet);
    let done = match options.format {
        Format::Ndjson => write_ndjson(options, &api, &mut place, &mut progress).await,
        Format::Parquet => columns::write(options, &api, &mut place, &mut progress).await,
    };
    match done {
        Ok(()) => {
            place.finish()?;
            progress.done();
            Ok(())
        }
        Err(error) => {
            if let (Format::Ndjson, Some(cursor)) = (options.format, place.cursor()) {
                eprintln!(
                    "pglens export: to go on: {} {cursor}",
                    place.how_to_resume()
                );
            }
            Err(error)
        }
    }
}

async fn write_ndjson(
    options: &Options,
    api: &Api,
    place: &mut Place,
    progress: &mut Progress,
) -> Result<(), ExportError> {
    let mut lines = Ndjson::default();
    let mut cursor = place.cursor().map(str::to_owned);
    loop {
        let page = api.queries(&options.filter, cursor.as_deref()).await?;
        for query in &page.queries {
            place.write(lines.statement(query).as_bytes())?;
            if options.rows && has_rows(query) {
                write_rows(api, &mut lines, query, place).await?;
            }
        }
        progress.add(&page.queries, page.next_cursor.as_deref());
        match page.next_cursor {
            // What is written by then is there for good: the cursor may be kept.
            Some(next) => {
                place.page_written(&next)?;
                cursor = Some(next);
            }
            None => return Ok(()),
        }
    }
}

async fn write_rows(
    api: &Api,
    lines: &mut Ndjson,
    query: &Value,
    place: &mut Place,
) -> Result<(), ExportError> {
    let id = text(query, "id");
    let mut rows = api.rows(id).await?;
    lines.rows_of(id);
    while let Some(piece) = rows.piece().await? {
        place.write(lines.rows(&piece).as_bytes())?;
    }
    Ok(())
}

fn has_rows(query: &Value) -> bool {
    query.get("captured_rows").and_then(Value::as_i64) > Some(0)
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}
