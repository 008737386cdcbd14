//! The `pglens` command: the embedded stack for trying things out, the planes as in production, and the small tools
//! an operator needs.
#![expect(clippy::print_stdout, reason = "a command answers on standard output")]

mod certificates;
mod dev;
mod export;
mod files;
mod keys;
mod maintenance;
mod planes;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

/// A subcommand: how it is called and what it does.
struct Subcommand {
    command: fn() -> Command,
    run: fn(&ArgMatches) -> ExitCode,
}

const SUBCOMMANDS: [Subcommand; 8] = [
    Subcommand {
        command: dev::command,
        run: dev::run,
    },
    Subcommand {
        command: planes::control_plane_command,
        run: planes::run_control_plane,
    },
    Subcommand {
        command: planes::data_plane_command,
        run: planes::run_data_plane,
    },
    Subcommand {
        command: certificates::command,
        run: certificates::run,
    },
    Subcommand {
        command: keys::command,
        run: keys::run,
    },
    Subcommand {
        command: maintenance::retention_command,
        run: maintenance::run_retention,
    },
    Subcommand {
        command: maintenance::reseal_command,
        run: maintenance::run_reseal,
    },
    Subcommand {
        command: export::command,
        run: export::run,
    },
];

fn command() -> Command {
    Command::new("pglens")
        .about("Access to production PostgreSQL without its password, decided and recorded")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(SUBCOMMANDS.iter().map(|subcommand| (subcommand.command)()))
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let Some((name, matches)) = matches.subcommand() else {
        return ExitCode::FAILURE; // clap has printed the help
    };
    SUBCOMMANDS
        .iter()
        .find(|subcommand| (subcommand.command)().get_name() == name)
        .map_or(ExitCode::FAILURE, |subcommand| (subcommand.run)(matches))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_tree_is_sound() {
        super::command().debug_assert();
    }
}
