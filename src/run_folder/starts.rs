//! When a run was started, by which program and command, and how that ended: `starts.jsonl`, a line per start.
//! Not here: what the run computed (`records`), what it is computed from (`origin`).
//!
//! A line is written when the run starts and replaced when it ends, each time with the whole file in one step: `ended` is null
//! while the run goes on, and stays so where it was killed. Nothing is read from the file.

use std::io::ErrorKind;
use std::path::PathBuf;

use serde::Serialize;

use super::RunFolder;
use super::durable::{failed, replace};
use super::error::RunFolderError;
use crate::host;
use crate::program::Program;
use crate::utc;

pub(super) const STARTS: &str = "starts.jsonl";

/// A start of a run.
#[derive(Debug)]
pub struct Start {
    folder: PathBuf,
    /// The lines of earlier starts, whatever they hold.
    earlier: Vec<u8>,
    line: Line,
}

#[derive(Debug, Serialize)]
struct Line {
    /// UTC.
    started: String,
    /// UTC; null while the run goes on.
    ended: Option<String>,
    /// `finished`, `interrupted`, or the error's message.
    outcome: Option<String>,
    /// Updates made before this start.
    from_update: u64,
    /// Updates made when it ended.
    to_update: Option<u64>,
    #[serde(flatten)]
    program: Program,
    host: String,
    /// The program's name and its arguments.
    command: Vec<String>,
}

impl Start {
    /// Writes down that the run starts.
    ///
    /// - `from_update`: updates made before
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn begin(folder: &RunFolder, from_update: u64) -> Result<Self, RunFolderError> {
        let folder = folder.path().to_owned();
        let path = folder.join(STARTS);
        let earlier = match std::fs::read(&path) {
            Ok(lines) => lines,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(failed("read", &path)(source)),
        };
        let command = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let line = Line {
            started: utc::now(),
            ended: None,
            outcome: None,
            from_update,
            to_update: None,
            program: Program::THIS,
            host: host::name(),
            command: command.collect(),
        };
        let start = Self { folder, earlier, line };
        start.write()?;
        Ok(start)
    }

    /// Writes down how the run ended.
    ///
    /// - `to_update`: updates made by then
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&mut self, outcome: &str, to_update: u64) -> Result<(), RunFolderError> {
        self.line.ended = Some(utc::now());
        self.line.outcome = Some(outcome.to_owned());
        self.line.to_update = Some(to_update);
        self.write()
    }

    fn write(&self) -> Result<(), RunFolderError> {
        let json = |source| RunFolderError::Json { path: self.folder.join(STARTS), source };
        let mut lines = self.earlier.clone();
        if !lines.is_empty() && !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
        serde_json::to_writer(&mut lines, &self.line).map_err(json)?;
        lines.push(b'\n');
        replace(&self.folder, STARTS, &lines)
    }
}
