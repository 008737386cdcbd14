//! Where an export goes: standard output, or a file that can be gone on with.
//!
//! Beside the file `x` stands `x.cursor`: how many bytes of the file are whole pages, and the cursor behind them. It is
//! written after each page and gone when all is written.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::ExportError;
use super::options::Options;
use crate::files::{self, Audience};

/// The record is as private as what it is about.
const PRIVATE_MODE: u32 = 0o600;

pub(super) struct Place {
    out: Box<dyn Write + Send>,
    written_bytes: u64,
    cursor: Option<String>,
    /// The file to finish, and the one with its cursor.
    state: Option<PathBuf>,
}

impl Place {
    pub(super) fn open(options: &Options) -> Result<Self, ExportError> {
        let Some(path) = &options.output else {
            return Ok(Self {
                out: Box::new(BufWriter::new(std::io::stdout())),
                written_bytes: 0,
                cursor: options.cursor.clone(),
                state: None,
            });
        };
        let mut name = path.as_os_str().to_owned();
        name.push(".cursor");
        let state = PathBuf::from(name);
        let (file, written_bytes, cursor) = match options.resume {
            true => reopened(path, &state)?,
            false => (created(path)?, 0, None),
        };
        Ok(Self {
            out: Box::new(BufWriter::new(file)),
            written_bytes,
            cursor,
            state: Some(state),
        })
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The option that goes on from the cursor.
    pub(super) fn how_to_resume(&self) -> &'static str {
        match self.state {
            Some(_) => "the same command with --resume, cursor",
            None => "the same command with --until as it was, and --cursor",
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.written_bytes += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(ExportError::output("--output"))
    }

    /// Everything up to `cursor` is written.
    pub(super) fn page_written(&mut self, cursor: &str) -> Result<(), ExportError> {
        self.out.flush().map_err(ExportError::output("--output"))?;
        self.cursor = Some(cursor.to_owned());
        let Some(state) = &self.state else {
            return Ok(());
        };
        let text = format!("{} {cursor}\n", self.written_bytes);
        files::replace(state, &text, Audience::Owner)
            .map_err(|error| ExportError::Usage(error.to_string()))
    }

    /// All is written.
    pub(super) fn finish(&mut self) -> Result<(), ExportError> {
        self.out.flush().map_err(ExportError::output("--output"))?;
        if let Some(state) = &self.state {
            match std::fs::remove_file(state) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ExportError::output("--output")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn created(path: &Path) -> Result<File, ExportError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_MODE)
        .open(path)
        .map_err(|error| ExportError::Usage(format!("--output: {}: {error}", path.display())))
}

/// The file cut to its last whole page.
fn reopened(path: &Path, state: &Path) -> Result<(File, u64, Option<String>), ExportError> {
    let usage = |reason: String| ExportError::Usage(format!("--resume: {reason}"));
    let text = std::fs::read_to_string(state)
        .map_err(|error| usage(format!("{}: {error}", state.display())))?;
    let (length, cursor) = text.trim().split_once(' ').unwrap_or_default();
    let length: u64 = length
        .parse()
        .map_err(|_| usage(format!("{} is damaged", state.display())))?;
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|error| usage(format!("{}: {error}", path.display())))?;
    let cut = file
        .metadata()
        .and_then(|facts| match facts.len() < length {
            true => Err(std::io::Error::other("is shorter than it was")),
            false => file.set_len(length),
        })
        .and_then(|()| file.seek(SeekFrom::End(0)));
    cut.map_err(|error| usage(format!("{}: {error}", path.display())))?;
    Ok((file, length, Some(cursor.to_owned())))
}
