//! Files with one JSON object a line, and what is wrong with a line.
//! Not here: what the fields mean (`listed` for questions, `answers` for completions to grade).

use super::DataError;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The fields of a row, in the file's order.
pub(super) type Fields = Map<String, Value>;

/// The objects of a file, one by one; blank lines are passed over.
pub(super) struct JsonLines {
    path: PathBuf,
    lines: BufReader<File>,
    line: Vec<u8>,
    row: usize,
}

/// A row with its place in the file.
pub(super) struct JsonRow {
    pub(super) place: Place,
    pub(super) fields: Fields,
}

/// Where a row stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// The line, from 1.
    pub(super) row: usize,
}

impl JsonLines {
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path)
            .map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), lines: BufReader::new(file), line: Vec::new(), row: 0 })
    }

    /// The next row; none at the end of the file.
    fn next_row(&mut self) -> Result<Option<JsonRow>, DataError> {
        let Self { path, lines, line, row } = self;
        loop {
            line.clear();
            let unreadable = |source| DataError::Unreadable { path: path.clone(), source };
            if lines.read_until(b'\n', line).map_err(unreadable)? == 0 {
                return Ok(None);
            }
            *row += 1;
            let place = Place { path: path.clone(), row: *row };
            let text = str::from_utf8(line)
                .map_err(|_| DataError::NotText { path: path.clone(), row: *row })?
                .trim_start_matches('\u{feff}')
                .trim();
            if !text.is_empty() {
                return Ok(Some(JsonRow { fields: place.parse(text)?, place }));
            }
        }
    }
}

impl Iterator for JsonLines {
    type Item = Result<JsonRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

impl Place {
    fn parse(&self, text: &str) -> Result<Fields, DataError> {
        let broken =
            |found| DataError::BrokenJson { path: self.path.clone(), row: self.row, found };
        match serde_json::from_str(text).map_err(|error| broken(error.to_string()))? {
            Value::Object(fields) => Ok(fields),
            other => Err(broken(format!("{}, expected an object", kind(&other)))),
        }
    }

    pub(super) fn bad_field(
        &self,
        field: &str,
        found: String,
        expected: &'static str,
        hint: &'static str,
    ) -> DataError {
        let (path, field) = (self.path.clone(), field.to_owned());
        DataError::BadField { path, row: self.row, field, found, expected, hint }
    }

    pub(super) fn missing(
        &self,
        fields: &Fields,
        names: &str,
        expected: &'static str,
        hint: &'static str,
    ) -> DataError {
        let others: Vec<&str> = fields.keys().map(String::as_str).collect();
        let found = format!("nothing among the fields [{}]", others.join(", "));
        self.bad_field(names, found, expected, hint)
    }
}

/// The first of the named fields that is there and not null.
pub(super) fn first_of<'row>(
    fields: &'row Fields,
    names: &[&'static str],
) -> Option<(&'static str, &'row Value)> {
    names.iter().find_map(|name| {
        let value = fields.get(*name).filter(|value| !value.is_null())?;
        Some((*name, value))
    })
}

/// What a value is, for an error message.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if super::gold_answer(text).is_empty() => "empty text".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
