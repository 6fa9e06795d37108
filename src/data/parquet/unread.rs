//! Columns that nothing reads: whether one of them seems to hold pictures in a file without a column of pictures.
//! Not here: which columns are read (`columns`), what a picture looks like (`picture_like`).

use super::columns::leaves;
use super::{Shard, slots};
use crate::data::DataError;
use crate::data::field_names::FieldNames;
use crate::data::picture_like::{expected, picture_in};
use crate::data::row::Fields;
use parquet::basic::Type as PhysicalType;
use serde_json::Value;
use std::fs::File;
use std::sync::Arc;

/// Rows that are looked at.
const N_LOOKED_AT: usize = 16;

impl Shard {
    /// The names of the columns that nothing reads.
    pub(in crate::data) fn unread_columns(&self) -> &[String] {
        &self.columns.unread
    }

    /// Refuses a file without a column of pictures in which another one seems to hold them.
    ///
    /// # Errors
    /// There is such a column, or the file cannot be opened.
    pub(super) fn refuse_hidden_pictures(&self, names: &FieldNames) -> Result<(), DataError> {
        if self.columns.has_pictures || self.n_rows == 0 {
            return Ok(());
        }
        let file = self.open_file()?;
        for column in &self.columns.unread {
            let values = self.first_values(&file, column);
            if let Some(found) = values.iter().find_map(|value| picture_in(column, value)) {
                let (path, column) = (self.path.to_path_buf(), column.clone());
                let expected = expected(names).into();
                return Err(DataError::BadColumn { path, column, found, expected });
            }
        }
        Ok(())
    }

    /// The first values of a column; of a nested one, an object with the first value of each leaf.
    fn first_values(&self, file: &Arc<File>, name: &str) -> Vec<Value> {
        let schema = self.metadata.file_metadata().schema_descr();
        let leaves = leaves(schema, name);
        if let [only] = leaves.as_slice() {
            return self.first_texts(file, *only);
        }
        let part = |&leaf: &usize| {
            let values = self.first_texts(file, leaf);
            let first = values.into_iter().find(|value| !value.is_null()).unwrap_or_default();
            (schema.column(leaf).name().to_owned(), first)
        };
        vec![Value::Object(leaves.iter().map(part).collect())]
    }

    /// The first values of a leaf column of text; empty for other types, and for values that cannot be read, which is no
    /// error here.
    fn first_texts(&self, file: &Arc<File>, leaf: usize) -> Vec<Value> {
        let column = self.metadata.file_metadata().schema_descr().column(leaf);
        if column.physical_type() != PhysicalType::BYTE_ARRAY {
            return Vec::new();
        }
        let n_rows = self.n_rows(0).min(N_LOOKED_AT);
        let reader = self.column_reader(file, 0, leaf).ok();
        let values = reader.and_then(|reader| slots::values(reader, &column, n_rows).ok());
        let value = |value: slots::TextValue| value.unwrap_or_else(|_| bytes());
        values.unwrap_or_default().into_iter().map(value).collect()
    }
}

/// A placeholder for bytes that are not text.
fn bytes() -> Value {
    Value::Object(Fields::from_iter([("bytes".to_owned(), Value::Bool(true))]))
}
