//! `pglens key generate`: a key for `PGL_KEY`.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgMatches, Command};
use pglens_core::Secret;

/// The length of a key of `ChaCha20-Poly1305`.
const KEY_BYTES: usize = 32;

pub(crate) fn command() -> Command {
    Command::new("key")
        .about("Make encryption keys")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("generate")
                .about("Print a new key for PGL_KEY: 32 random bytes as base64"),
        )
}

pub(crate) fn run(_matches: &ArgMatches) -> ExitCode {
    println!("{}", generate().expose());
    ExitCode::SUCCESS
}

/// A new random key, as base64.
pub(crate) fn generate() -> Secret<String> {
    let key: [u8; KEY_BYTES] = rand::random();
    Secret::new(STANDARD.encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_32_bytes_and_differ() {
        let (one, other) = (generate(), generate());
        assert_eq!(STANDARD.decode(one.expose()).unwrap().len(), KEY_BYTES);
        assert_ne!(one, other);
    }
}
