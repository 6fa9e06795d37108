//! Files with one JSON object a line.
//! Not here: what the fields mean (`listed` for questions, `answers` for completions to grade).

use super::DataError;
use super::row::{Fields, Place, Row, Unit, kind};
use crate::input_file;
use crate::limits::{LINE_BYTES, LIST_FILE_BYTES};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// The objects of a file, one by one; blank lines are passed over.
pub(super) struct JsonLines {
    path: Arc<Path>,
    lines: Box<dyn BufRead>,
    line: Vec<u8>,
    row: usize,
}

impl JsonLines {
    /// # Errors
    /// The file cannot be opened, is no regular file or too large.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = input_file::open_at_most(path, LIST_FILE_BYTES)
            .map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self::new(path, Box::new(BufReader::new(file))))
    }

    /// Lines that are in memory already; `path` names them.
    pub(super) fn of_text(path: &Path, text: &'static str) -> Self {
        Self::new(path, Box::new(text.as_bytes()))
    }

    fn new(path: &Path, lines: Box<dyn BufRead>) -> Self {
        Self { path: path.into(), lines, line: Vec::new(), row: 0 }
    }

    /// The next row; none at the end of the file.
    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        let Self { path, lines, line, row } = self;
        loop {
            line.clear();
            let unreadable = |source| DataError::Unreadable { path: path.to_path_buf(), source };
            let n_read =
                lines.take(LINE_BYTES + 1).read_until(b'\n', line).map_err(unreadable)? as u64;
            if n_read == 0 {
                return Ok(None);
            }
            *row += 1;
            let place = Place { path: path.clone(), row: *row, unit: Unit::Line };
            if n_read > LINE_BYTES {
                return Err(DataError::LongLine { place, most: LINE_BYTES });
            }
            let Ok(text) = str::from_utf8(line) else { return Err(DataError::NotText { place }) };
            let text = text.trim_start_matches('\u{feff}').trim();
            if !text.is_empty() {
                return Ok(Some(Row { fields: parse(text, &place)?, place }));
            }
        }
    }
}

impl Iterator for JsonLines {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

fn parse(text: &str, place: &Place) -> Result<Fields, DataError> {
    let broken = |found| DataError::BrokenRow { place: place.clone(), format: "JSON", found };
    match serde_json::from_str(text).map_err(|error| broken(error.to_string()))? {
        Value::Object(fields) => Ok(fields),
        other => Err(broken(format!("{}, expected an object", kind(&other)))),
    }
}
