//! `pglens retention` and `pglens reseal`: work on the storage database, with the settings of a control plane.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use pglens_control_plane::maintenance::{
    self, PastDay, RESEAL_SETTINGS, RETENTION_SETTINGS, Resealed, SealedColumn,
};
use pglens_runtime::{Settings, process};

use crate::planes::PlaneError;

const DRY_RUN: &str = "dry-run";

pub(crate) fn retention_command() -> Command {
    let about = "Drop what is past its retention, as control planes do every hour";
    Settings::command("retention", about, RETENTION_SETTINGS).arg(
        Arg::new(DRY_RUN)
            .long(DRY_RUN)
            .action(ArgAction::SetTrue)
            .help("Only print what would be dropped"),
    )
}

pub(crate) fn run_retention(matches: &ArgMatches) -> ExitCode {
    let settings = Settings::from_matches(RETENTION_SETTINGS, matches);
    let dry_run = matches.get_flag(DRY_RUN);
    process::run(
        "pglens retention",
        settings,
        |settings, _shutdown| async move {
            match dry_run {
                true => list(&settings).await,
                false => drop_past(&settings).await,
            }
        },
    )
}

async fn list(settings: &Settings) -> Result<(), PlaneError> {
    let past = maintenance::list_past(settings).await?;
    if past.is_empty() {
        println!("nothing is past its retention");
    }
    for day in &past {
        println!("would drop {}", describe(day));
    }
    Ok(())
}

async fn drop_past(settings: &Settings) -> Result<(), PlaneError> {
    let Some(kept) = maintenance::drop_past(settings).await? else {
        return Err(PlaneError::Run(
            "a control plane is at it at this moment; try again".to_owned(),
        ));
    };
    for day in &kept.dropped {
        println!("dropped {}", describe(day));
    }
    if kept.dropped.is_empty() && kept.failed.is_empty() {
        println!("nothing is past its retention");
    }
    match kept.failed.is_empty() {
        true => Ok(()),
        false => Err(PlaneError::Run(format!(
            "not done, try again: {}",
            kept.failed.join("; ")
        ))),
    }
}

/// For example "rows of 2026-01-31 (query_rows_20260131, 12.0 MiB)".
fn describe(past: &PastDay) -> String {
    const KIB: i64 = 1024;
    let tenths_of_mib = past.bytes.saturating_mul(10) / (KIB * KIB);
    format!(
        "{} of {} ({}, {}.{} MiB)",
        past.purpose.as_str(),
        past.day,
        past.table,
        tenths_of_mib / 10,
        tenths_of_mib % 10
    )
}

pub(crate) fn reseal_command() -> Command {
    let about = "Seal everything again with the first of the master keys";
    Settings::command("reseal", about, RESEAL_SETTINGS)
}

pub(crate) fn run_reseal(matches: &ArgMatches) -> ExitCode {
    let settings = Settings::from_matches(RESEAL_SETTINGS, matches);
    process::run(
        "pglens reseal",
        settings,
        |settings, _shutdown| async move {
            let mut unreadable = 0;
            let report = |column: SealedColumn, done: Resealed| {
                unreadable += done.unreadable;
                println!(
                    "{}.{}: {} sealed again, {} cannot be opened",
                    column.table, column.column, done.sealed, done.unreadable
                );
            };
            maintenance::reseal(&settings, report).await?;
            match unreadable {
                0 => Ok(()),
                count => Err(PlaneError::Run(format!(
                    "{count} values were sealed with keys that are not given; they are as they were"
                ))),
            }
        },
    )
}
