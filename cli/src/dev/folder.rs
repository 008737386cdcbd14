//! The data folder: a lock, secrets, certificates, and the server's own folder.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pglens_core::Secret;
use pglens_runtime::certificates::expires_at;
use pglens_runtime::{Authority, CertifiedKeyPem};

use super::DevError;
use super::options::DevOptions;
use crate::certificates::AUTHORITY_NAME;
use crate::files::{self, Audience, FileError};

/// The file by which we know that a folder is ours to wipe.
const MARKER: &str = "pglens-dev";
/// What the marker says to whoever looks.
const MARKER_TEXT: &str =
    "The data of `pglens dev`. `pglens dev --fresh` removes everything in this folder.\n";
/// Certificates with less time left are made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Characters of a generated password; 24 of 62 are 142 bits, and still fit on a command line.
const PASSWORD_CHARS: usize = 24;

/// The folder, held by this process alone.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

/// A certificate and its key as files.
#[derive(Debug, Clone)]
pub(super) struct CertificateFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl DataFolder {
    /// Makes or opens the folder, wiping it first when asked to.
    pub(super) fn open(options: &DevOptions) -> Result<Self, DevError> {
        let path = &options.data_dir;
        let blame = |error: FileError| options.data_dir_origin.error(error);
        std::fs::create_dir_all(path)
            .map_err(FileError::at(path))
            .map_err(blame)?;
        let path = std::fs::canonicalize(path)
            .map_err(FileError::at(path))
            .map_err(blame)?;
        let marker = path.join(MARKER);
        if !marker.exists() && !is_empty(&path).map_err(blame)? {
            let reason = format!("{} holds other files; name a new folder", path.display());
            return Err(options.data_dir_origin.error(reason).into());
        }
        files::remove_if_there(&marker).map_err(blame)?;
        files::write_new(&marker, MARKER_TEXT, Audience::Everyone).map_err(blame)?;
        let lock = lock(&path).map_err(blame)?.ok_or_else(|| {
            let reason = format!("{} is in use by another `pglens dev`", path.display());
            options.data_dir_origin.error(reason)
        })?;
        // PostgreSQL may run as another user, who passes through; the secrets' own folders are closed.
        std::fs::set_permissions(&path, Permissions::from_mode(0o711))
            .map_err(FileError::at(&path))?;
        let folder = Self { path, _lock: lock };
        if options.wishes.fresh {
            folder.wipe()?;
        }
        for name in ["secrets", "certificates"] {
            let inner = folder.path.join(name);
            std::fs::create_dir_all(&inner).map_err(FileError::at(&inner))?;
            std::fs::set_permissions(&inner, Permissions::from_mode(0o700))
                .map_err(FileError::at(&inner))?;
        }
        Ok(folder)
    }

    fn wipe(&self) -> Result<(), FileError> {
        for name in ["postgres", "secrets", "certificates"] {
            let inner = self.path.join(name);
            match std::fs::remove_dir_all(&inner) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::at(&inner)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The folder in which the data plane keeps records until they are acknowledged.
    pub(super) fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// The folder of the PostgreSQL server.
    pub(super) fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// The path of the secret `name`, made by `generate` when it is not there, and its value.
    pub(super) fn secret(
        &self,
        name: &str,
        generate: impl FnOnce() -> Secret<String>,
    ) -> Result<(PathBuf, Secret<String>), FileError> {
        let path = self.path.join("secrets").join(name);
        if !path.exists() {
            files::replace(&path, generate().expose(), Audience::Owner)?;
        }
        let text = std::fs::read_to_string(&path).map_err(FileError::at(&path))?;
        Ok((path, Secret::new(text.trim_end().to_owned())))
    }

    pub(super) fn password(&self, name: &str) -> Result<Secret<String>, FileError> {
        Ok(self.secret(name, generate_password)?.1)
    }

    /// The authority of this folder, kept for good, and the path of its certificate.
    pub(super) fn authority(&self) -> Result<(Authority, PathBuf), DevError> {
        let files = self.certificate_files("ca");
        if let (Ok(certificate), Ok(key)) = (read(&files.certificate), read(&files.key)) {
            return Ok((
                Authority::from_pem(&certificate, &Secret::new(key))?,
                files.certificate,
            ));
        }
        let authority = Authority::new(AUTHORITY_NAME)?;
        files::replace(&files.certificate, authority.ca_pem(), Audience::Everyone)?;
        files::replace(&files.key, authority.key_pem().expose(), Audience::Owner)?;
        Ok((authority, files.certificate))
    }

    /// The certificate `name`, made by `make` when it is not there or ends soon.
    pub(super) fn certificate(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<CertifiedKeyPem, pglens_runtime::CertificateError>,
    ) -> Result<CertificateFiles, DevError> {
        let files = self.certificate_files(name);
        let good_until = read(&files.certificate)
            .ok()
            .and_then(|pem| expires_at(&pem).ok());
        let is_good = good_until.is_some_and(|end| end > SystemTime::now() + RENEW_BEFORE);
        if !is_good || !files.key.exists() {
            let made = make()?;
            files::replace(&files.key, made.key.expose(), Audience::Owner)?;
            files::replace(&files.certificate, &made.certificate, Audience::Everyone)?;
        }
        Ok(files)
    }

    fn certificate_files(&self, name: &str) -> CertificateFiles {
        let folder = self.path.join("certificates");
        CertificateFiles {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}-key.pem")),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

fn is_empty(folder: &Path) -> Result<bool, FileError> {
    let mut entries = std::fs::read_dir(folder).map_err(FileError::at(folder))?;
    Ok(entries.next().is_none())
}

/// The lock file, or nothing when another process holds it.
fn lock(folder: &Path) -> Result<Option<File>, FileError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(FileError::at(&path))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

fn generate_password() -> Secret<String> {
    use rand::RngExt as _;
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric);
    Secret::new(letters.take(PASSWORD_CHARS).map(char::from).collect())
}
