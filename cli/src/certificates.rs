//! `pglens certificates`: an authority and the certificates by which the planes know each other.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use pglens_runtime::{Authority, CertificateError, CertifiedKeyPem};

use crate::files::{self, Audience, FileError};

/// The name in the authority's certificate.
pub(crate) const AUTHORITY_NAME: &str = "PgLens planes";

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("--out: {0} exists already; nothing was written")]
    Exists(String),
    #[error(
        "--data-plane: \"{0}\" cannot be a name: letters, digits, '.', '-' and '_' only, and not those of the files of the CA and the control plane"
    )]
    Name(String),
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    #[error("--out: {0}")]
    File(#[from] FileError),
}

pub(crate) fn command() -> Command {
    let names = |name: &'static str, help: &'static str, defaults: &'static [&'static str]| {
        Arg::new(name)
            .long(name)
            .value_name("NAME")
            .action(ArgAction::Append)
            .default_values(defaults.iter().copied())
            .help(help)
    };
    Command::new("certificates")
        .about("Make a CA, a certificate for the control plane and one for each data plane")
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("Folder to write to; files in it are never overwritten"),
        )
        .arg(names(
            "control-plane-name",
            "Host name or IP address under which data planes reach the control plane",
            &["localhost", "127.0.0.1", "control-plane"],
        ))
        .arg(names(
            "data-plane",
            "Identity of a data plane",
            &["data-plane"],
        ))
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    const EXIT_USAGE: u8 = 2;
    let out = matches
        .get_one::<PathBuf>("out")
        .cloned()
        .unwrap_or_default();
    let names = |name| -> Vec<&str> {
        let values = matches.get_many::<String>(name);
        values.unwrap_or_default().map(String::as_str).collect()
    };
    match make(&out, &names("control-plane-name"), &names("data-plane")) {
        Ok(written) => {
            for path in written {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pglens certificates: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn make(
    out: &Path,
    control_plane_names: &[&str],
    data_planes: &[&str],
) -> Result<Vec<PathBuf>, MakeError> {
    if let Some(name) = data_planes.iter().find(|name| !is_file_name(name)) {
        return Err(MakeError::Name((*name).to_owned()));
    }
    let authority = Authority::new(AUTHORITY_NAME)?;
    let mut made = vec![
        (
            out.join("ca.pem"),
            authority.ca_pem().to_owned(),
            Audience::Everyone,
        ),
        (
            out.join("ca-key.pem"),
            authority.key_pem().expose().clone(),
            Audience::Owner,
        ),
    ];
    made.extend(pair(
        out,
        "control-plane",
        authority.server(control_plane_names)?,
    ));
    for name in data_planes {
        made.extend(pair(out, name, authority.client(name)?));
    }
    if let Some((path, ..)) = made.iter().find(|(path, ..)| path.exists()) {
        return Err(MakeError::Exists(path.display().to_string()));
    }
    std::fs::create_dir_all(out).map_err(FileError::at(out))?;
    for (path, text, audience) in &made {
        files::write_new(path, text, *audience)?;
    }
    Ok(made.into_iter().map(|(path, ..)| path).collect())
}

fn pair(out: &Path, name: &str, pair: CertifiedKeyPem) -> [(PathBuf, String, Audience); 2] {
    let key = pair.key.expose().clone();
    [
        (
            out.join(format!("{name}.pem")),
            pair.certificate,
            Audience::Everyone,
        ),
        (out.join(format!("{name}-key.pem")), key, Audience::Owner),
    ]
}

/// Whether the identity can be part of a file's name and collides with none of the other files.
fn is_file_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty()
        && !name.starts_with(['.', '-'])
        && !["ca", "ca-key", "control-plane", "control-plane-key"].contains(&name)
        && name.bytes().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_file_is_there_and_keys_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        let written = make(&out, &["control.example"], &["east-1", "west-1"]).unwrap();
        assert_eq!(written.len(), 8);
        for path in &written {
            let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            let is_key = path.to_str().unwrap().ends_with("-key.pem");
            assert_eq!(
                mode,
                if is_key { 0o600 } else { 0o644 },
                "{}",
                path.display()
            );
        }
        let key = std::fs::read_to_string(out.join("west-1-key.pem")).unwrap();
        assert!(key.contains("PRIVATE KEY"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("east-1.pem"), "mine").unwrap();
        let error = make(folder.path(), &["localhost"], &["east-1"]).unwrap_err();
        assert!(
            error.to_string().contains("east-1.pem exists already"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_stay_inside_the_folder() {
        for name in ["../x", "a/b", "", ".x", "ca", "control-plane", "a b"] {
            let error = make(Path::new("/nonexistent"), &["localhost"], &[name]);
            assert!(matches!(error, Err(MakeError::Name(_))), "{name}");
        }
    }
}
