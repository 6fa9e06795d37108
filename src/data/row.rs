//! A row of a file, whatever the file's format: its fields, its place, and what is wrong with it.
//! Not here: reading files (`json_lines`, `csv_table`, `parquet`); what the fields mean (`listed` for
//! questions, `answers` for completions to grade).

use super::DataError;
use crate::limits::QUESTION_BYTES;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The fields of a row, in the file's order.
pub(super) type Fields = Map<String, Value>;

/// A row with its place in the file.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) fields: Fields,
}

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// The row, from 1.
    pub row: usize,
    /// What rows of such a file are: lines of text, or rows of a table.
    pub unit: Unit,
}

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Lines of a text file, counted with those that hold no row.
    Line,
    /// Rows of a table.
    Row,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Line => "line",
            Unit::Row => "row",
        };
        write!(f, "{}: {unit} {}", self.path.display(), self.row)
    }
}

impl Place {
    /// The row's identifier: the file's name and the row.
    pub(super) fn id(&self) -> String {
        format!("{}:{}", file_name(&self.path), self.row)
    }

    pub(super) fn bad_field(
        &self,
        field: &str,
        found: impl Into<String>,
        expected: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> DataError {
        let (place, field, found) = (self.clone(), field.to_owned(), found.into());
        DataError::BadField { place, field, found, expected: expected.into(), hint: hint.into() }
    }

    /// The text, if it is not longer than any model reads.
    ///
    /// # Errors
    /// It is longer; known before anything looks at it.
    pub(super) fn text_within_limit(&self, field: &str, text: &str) -> Result<String, DataError> {
        if text.len() <= QUESTION_BYTES {
            return Ok(text.to_owned());
        }
        let (place, field) = (self.clone(), field.to_owned());
        Err(DataError::LongText { place, field, bytes: text.len(), most: QUESTION_BYTES })
    }

    /// None of the fields `names` holds anything.
    pub(super) fn missing(
        &self,
        fields: &Fields,
        names: &[impl AsRef<str>],
        expected: &'static str,
        hint: &'static str,
    ) -> DataError {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let found = if names.iter().any(|name| fields.contains_key(*name)) {
            "null".to_owned()
        } else {
            let others: Vec<&str> = fields.keys().map(String::as_str).collect();
            format!("nothing among the fields [{}]", others.join(", "))
        };
        self.bad_field(&names.join("` or `"), found, expected, hint)
    }
}

/// The last part of a path, as text.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The first of the named fields that is there and not null.
pub(super) fn first_of<'row, Name: AsRef<str>>(
    fields: &'row Fields,
    names: &[Name],
) -> Option<(&'row str, &'row Value)> {
    names.iter().find_map(|name| {
        let (name, value) = fields.get_key_value(name.as_ref())?;
        (!value.is_null()).then_some((name.as_str(), value))
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
