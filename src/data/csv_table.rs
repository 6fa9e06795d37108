//! Files of comma-separated values whose first line names the fields, such as an image folder's `metadata.csv`.
//! Not here: what the fields mean (`listed`).

use super::DataError;
use super::row::{Place, Row, Unit};
use crate::input_file;
use crate::limits::LIST_FILE_BYTES;
use csv::{ErrorKind, Reader, StringRecord};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The rows of a file, one by one. Every value is text; an empty one counts as absent.
pub(super) struct CsvTable {
    path: Arc<Path>,
    names: StringRecord,
    reader: Reader<File>,
    /// The rows read so far; not lines, since a row may span several.
    row: usize,
}

impl CsvTable {
    /// # Errors
    /// The file cannot be opened, is no regular file or too large, or its first line is not text.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = input_file::open_at_most(path, LIST_FILE_BYTES)
            .map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?;
        let mut table = Self {
            path: path.into(),
            names: StringRecord::new(),
            reader: Reader::from_reader(file),
            row: 0,
        };
        table.names = match table.reader.headers() {
            Ok(names) => names.iter().map(|name| name.trim_start_matches('\u{feff}')).collect(),
            Err(error) => return Err(table.wrong(error)),
        };
        let mut seen = BTreeSet::new();
        match table.names.iter().find(|name| !name.is_empty() && !seen.insert(*name)) {
            None => Ok(table),
            Some(name) => Err(DataError::BadColumn {
                path: path.to_owned(),
                column: name.to_owned(),
                found: "it more than once".to_owned(),
                expected: "each column once".into(),
            }),
        }
    }

    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        let mut values = StringRecord::new();
        self.row += 1;
        match self.reader.read_record(&mut values) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => return Err(self.wrong(error)),
        }
        let value = |text: &str| match text {
            "" => Value::Null,
            text => Value::String(text.to_owned()),
        };
        let fields =
            self.names.iter().zip(&values).map(|(name, text)| (name.to_owned(), value(text)));
        Ok(Some(Row { place: self.place(), fields: fields.collect() }))
    }

    fn place(&self) -> Place {
        Place { path: self.path.clone(), row: self.row, unit: Unit::Row }
    }

    fn wrong(&self, error: csv::Error) -> DataError {
        let found = error.to_string();
        match error.into_kind() {
            ErrorKind::Io(source) => {
                DataError::Unreadable { path: self.path.to_path_buf(), source }
            }
            _ => DataError::BrokenRow { place: self.place(), format: "CSV", found },
        }
    }
}

impl Iterator for CsvTable {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Result<Row, DataError>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.csv");
        std::fs::write(&path, text).unwrap();
        CsvTable::open(&path).unwrap().collect()
    }

    #[test]
    fn the_first_line_names_the_fields() {
        let rows =
            read("\u{feff}file_name,problem\na.png,\"How many,\nin all?\"\n\nb.png,\n".as_bytes());
        let rows: Vec<Row> = rows.into_iter().map(Result::unwrap).collect();
        assert_eq!(rows[0].fields["file_name"], "a.png");
        assert_eq!(rows[0].fields["problem"], "How many,\nin all?");
        assert_eq!(rows[1].fields["problem"], Value::Null);
        assert_eq!(rows.iter().map(|row| row.place.row).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_column_that_is_there_twice_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.csv");
        std::fs::write(&path, "a,b,a\n1,2,3\n").unwrap();
        let error = CsvTable::open(&path).err().unwrap().to_string();
        assert!(error.contains("column `a`: found it more than once"), "{error}");
    }

    #[test]
    fn a_row_that_is_broken_is_named_and_the_next_is_read() {
        let rows = read(b"a,b\n1\n2,\xff\n3,4\n");
        for (row, line) in rows.iter().zip(["row 1", "row 2"]) {
            let message = row.as_ref().unwrap_err().to_string();
            assert!(message.contains(line) && message.contains("broken CSV"), "{message}");
        }
        assert_eq!(rows[2].as_ref().unwrap().fields["b"], "4");
    }
}
