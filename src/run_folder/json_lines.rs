//! A file of records, one JSON object a line: appended to, cut back on resuming, read.
//! Not here: what the records are (`metrics`, `records`).
//!
//! Lines are in the order of their `update`. That makes the state after any update a prefix of
//! the file, so that cutting it is one truncation, which no interruption can leave half done.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::durable::failed;
use super::error::RunFolderError;

/// A file of records, open for appending.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

/// What every record has.
#[derive(Deserialize)]
struct Stamp {
    update: u64,
}

impl JsonLines {
    /// Opens the file of a new run, emptied.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn start(path: &Path) -> Result<Self, RunFolderError> {
        Self::open_cut(path, 0)
    }

    /// Opens the file as it was after an update: later lines are cut off, and so is a last line
    /// that was never finished.
    ///
    /// - `last_update`: the update of the checkpoint that the run continues from; `None` where it
    ///   starts over, which empties the file
    ///
    /// # Errors
    /// The file cannot be read or written, or a line in what is to stay is not a record.
    pub fn resume(path: &Path, last_update: Option<u64>) -> Result<Self, RunFolderError> {
        let bytes = match last_update {
            Some(last_update) => prefix_bytes(path, last_update)?,
            None => 0,
        };
        Self::open_cut(path, bytes)
    }

    fn open_cut(path: &Path, bytes: u64) -> Result<Self, RunFolderError> {
        let opened = File::options().create(true).append(true).open(path);
        let file = opened.map_err(failed("write", path))?;
        file.set_len(bytes).map_err(failed("cut", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes one record in one piece, so that a concurrent reader sees whole lines.
    ///
    /// # Errors
    /// The file cannot be written, or the record is not expressible as JSON.
    pub fn append<T: Serialize>(&mut self, record: &T) -> Result<(), RunFolderError> {
        self.append_all(std::slice::from_ref(record))
    }

    /// Writes several records in one piece.
    ///
    /// # Errors
    /// As [`JsonLines::append`].
    pub fn append_all<T: Serialize>(&mut self, records: &[T]) -> Result<(), RunFolderError> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)
                .map_err(|source| RunFolderError::Json { path: self.path.clone(), source })?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).map_err(failed("write", &self.path))
    }

    /// Waits until all lines are on the disk; to be called before a checkpoint that relies on them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sync(&self) -> Result<(), RunFolderError> {
        self.file.sync_all().map_err(failed("write", &self.path))
    }
}

/// All finished records of a file; none where there is no such file.
///
/// # Errors
/// The file cannot be read, or a finished line is not such a record.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunFolderError> {
    let mut records = Vec::new();
    visit(path, |record, _| {
        records.push(record);
        true
    })?;
    Ok(records)
}

/// The length of the file's prefix whose records are of updates up to `last_update`.
fn prefix_bytes(path: &Path, last_update: u64) -> Result<u64, RunFolderError> {
    let mut kept = 0;
    visit(path, |stamp: Stamp, end| {
        let stays = stamp.update <= last_update;
        if stays {
            kept = end;
        }
        stays
    })?;
    Ok(kept)
}

/// Calls `see` with each finished line's record and the position of its end, until `see` returns false.
fn visit<T: DeserializeOwned>(
    path: &Path,
    mut see: impl FnMut(T, u64) -> bool,
) -> Result<(), RunFolderError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let (mut number, mut end) = (0, 0);
    loop {
        line.clear();
        end += reader.read_until(b'\n', &mut line).map_err(failed("read", path))? as u64;
        number += 1;
        let Some((b'\n', text)) = line.split_last() else { return Ok(()) };
        let record = serde_json::from_slice(text).map_err(|error| RunFolderError::Record {
            path: path.to_owned(),
            line: number,
            found: error.to_string(),
        })?;
        if !see(record, end) {
            return Ok(());
        }
    }
}
