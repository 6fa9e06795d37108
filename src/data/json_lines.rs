//! Files with one JSON object a line, or with one list of objects.
//! Not here: what the fields mean (`listed` for questions, `answers` for completions to grade).

use super::DataError;
use super::row::{Fields, Place, Row, Unit, kind};
use crate::input_file;
use crate::limits::{LINE_BYTES, LIST_FILE_BYTES};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// The objects of a file, one by one; blank lines are passed over.
pub(super) struct JsonLines {
    path: Arc<Path>,
    objects: Objects,
    row: usize,
}

/// What is left of a file.
enum Objects {
    Lines { lines: Box<dyn BufRead>, line: Vec<u8> },
    List(std::vec::IntoIter<Object>),
}

impl JsonLines {
    /// # Errors
    /// The file cannot be opened, is no regular file or too large, or begins as a list and is none of objects.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Unreadable { path: path.to_owned(), source };
        let file = input_file::open_at_most(path, LIST_FILE_BYTES).map_err(unreadable)?;
        let mut lines = BufReader::new(file);
        if !begins_a_list(lines.fill_buf().map_err(unreadable)?) {
            return Ok(Self::new(path, Box::new(lines)));
        }
        let mut text = String::new();
        lines.read_to_string(&mut text).map_err(unreadable)?;
        let list: Vec<Object> = serde_json::from_str(without_mark(&text)).map_err(|error| {
            let place = Place { path: path.into(), row: error.line(), unit: Unit::Line };
            DataError::BrokenRow { place, format: "JSON", found: error.to_string() }
        })?;
        Ok(Self { path: path.into(), objects: Objects::List(list.into_iter()), row: 0 })
    }

    /// Lines that are in memory already; `path` names them.
    pub(super) fn of_text(path: &Path, text: &'static str) -> Self {
        Self::new(path, Box::new(text.as_bytes()))
    }

    fn new(path: &Path, lines: Box<dyn BufRead>) -> Self {
        Self { path: path.into(), objects: Objects::Lines { lines, line: Vec::new() }, row: 0 }
    }

    /// The next row; none at the end of the file.
    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        let Self { path, objects, row } = self;
        let (lines, line) = match objects {
            Objects::Lines { lines, line } => (lines, line),
            Objects::List(list) => {
                *row += 1;
                let place = Place { path: path.clone(), row: *row, unit: Unit::Row };
                return list.next().map(|object| object.into_row(place)).transpose();
            }
        };
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
            let text = without_mark(text).trim();
            if !text.is_empty() {
                return parse(text, &place)?.into_row(place).map(Some);
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

/// Whether a file whose first bytes these are holds a list rather than lines.
fn begins_a_list(start: &[u8]) -> bool {
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'[')
}

fn without_mark(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

fn parse(text: &str, place: &Place) -> Result<Object, DataError> {
    serde_json::from_str(text).map_err(|error| {
        let found = match serde_json::from_str::<Value>(text) {
            Ok(other) => format!("{}, expected an object", kind(&other)),
            Err(_) => error.to_string(),
        };
        DataError::BrokenRow { place: place.clone(), format: "JSON", found }
    })
}

/// An object, and whether it has a field more than once, of which a map would keep the last.
struct Object {
    fields: Fields,
    repeated: Option<String>,
}

impl Object {
    fn into_row(self, place: Place) -> Result<Row, DataError> {
        match self.repeated {
            None => Ok(Row { place, fields: self.fields }),
            Some(field) => Err(place.bad_field(
                &field,
                "it more than once",
                "each field once",
                "keep the one that is meant",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object, A::Error> {
        let (mut fields, mut repeated) = (Map::new(), None);
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            if fields.contains_key(&name) {
                repeated.get_or_insert_with(|| name.clone());
            }
            fields.insert(name, value);
        }
        Ok(Object { fields, repeated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Row, DataError>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        std::fs::write(&path, text).unwrap();
        match JsonLines::open(&path) {
            Ok(rows) => rows.collect(),
            Err(error) => vec![Err(error)],
        }
    }

    #[test]
    fn a_list_of_objects_is_read_as_rows() {
        let rows = read("\u{feff}\n [{\"a\": 1},\n  {\"a\": [2]}]\n");
        let rows: Vec<Row> = rows.into_iter().map(Result::unwrap).collect();
        let found: Vec<_> = rows.iter().map(|row| (row.place.row, row.place.unit)).collect();
        assert_eq!(found, [(1, Unit::Row), (2, Unit::Row)]);
        assert_eq!(rows[1].fields["a"][0], 2);
        let error = read("[{\"a\": 1},\n 7]").remove(0).unwrap_err().to_string();
        assert!(error.contains("rows.json: line 2: broken JSON"), "{error}");
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused_in_lines_and_lists() {
        for (text, place) in [
            ("{\"a\":1}\n{\"b\":1,\"a\":2,\"b\":1}\n{\"a\":3}", "line 2"),
            ("[{\"a\":1},{\"b\":1,\"b\":2},{\"a\":3}]", "row 2"),
        ] {
            let rows = read(text);
            let error = rows[1].as_ref().unwrap_err().to_string();
            let expected = format!("{place}: field `b`: found it more than once, expected each");
            assert!(error.contains(&expected), "{error}");
            assert!(rows[0].is_ok() && rows[2].is_ok(), "the others are read");
        }
    }
}
