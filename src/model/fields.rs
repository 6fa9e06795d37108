//! Reading one field of a JSON object, with an error that names file, field, found and expected.
//! Not here: which fields a model has and what they mean (`config`).

use serde_json::{Map, Value};

use super::error::ModelError;
use super::files::ModelFiles;

/// Far above any size of a real model; a larger value means a damaged file.
const LARGEST_SIZE: usize = 1 << 24;
/// Ratios, patch sides and colour channels; their products must stay within a machine word.
const LARGEST_FACTOR: usize = 1024;
/// A bound on layers, so that a damaged file cannot ask for a list that fills the memory.
const MOST_LAYERS: usize = 4096;

/// The id as the tensors hold it, where the vocabulary has it.
pub(super) fn in_vocabulary(id: usize, vocab: usize) -> Option<u32> {
    u32::try_from(id).ok().filter(|_| id < vocab)
}

/// The JSON object in the file of this name, or `None` where there is no such file.
pub(super) fn read_object(
    files: &ModelFiles,
    name: &str,
) -> Result<Option<Map<String, Value>>, ModelError> {
    let file = || files.describe(name);
    let bytes = files.read(name).map_err(|source| ModelError::Read { file: file(), source })?;
    let Some(bytes) = bytes else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| ModelError::Json { file: file(), found: error.to_string() })
}

/// A whole number that is not negative; `4.0` is one, as Python's `json` may write it so.
pub(super) fn as_size(value: &Value) -> Option<usize> {
    let whole = value.as_u64().or_else(|| {
        // The cast is exact: the bound is far below 2^53.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (0.0..1e9).contains(number))
            .map(|number| number as u64)
    });
    whole.and_then(|number| usize::try_from(number).ok())
}

/// One object of a JSON file, with what error messages need to name it.
pub(super) struct Section<'a> {
    pub(super) file: &'a str,
    /// Dotted path of the object, empty or ending in a dot.
    pub(super) prefix: String,
    pub(super) fields: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    pub(super) fn path(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// The error that `field` has a wrong value, or is missing.
    pub(super) fn wrong(&self, field: &str, expected: &str) -> ModelError {
        ModelError::Field {
            file: self.file.to_owned(),
            field: self.path(field),
            found: self.fields.get(field).map_or_else(|| "missing".to_owned(), Value::to_string),
            expected: expected.to_owned(),
        }
    }

    /// The field's value, or `None` where it is absent or null.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn section(&self, field: &str) -> Result<Option<Section<'a>>, ModelError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                let prefix = format!("{}{field}.", self.prefix);
                Ok(Some(Section { file: self.file, prefix, fields }))
            }
            Some(_) => Err(self.wrong(field, "an object")),
        }
    }

    pub(super) fn size(&self, field: &str, default: Option<usize>) -> Result<usize, ModelError> {
        self.bounded(field, default, LARGEST_SIZE)
    }

    pub(super) fn factor(&self, field: &str, default: usize) -> Result<usize, ModelError> {
        self.bounded(field, Some(default), LARGEST_FACTOR)
    }

    pub(super) fn layers(&self, field: &str) -> Result<usize, ModelError> {
        self.bounded(field, None, MOST_LAYERS)
    }

    fn bounded(
        &self,
        field: &str,
        default: Option<usize>,
        most: usize,
    ) -> Result<usize, ModelError> {
        let found = self.get(field).map_or(default, as_size);
        found
            .filter(|size| (1..=most).contains(size))
            .ok_or_else(|| self.wrong(field, &format!("a whole number from 1 to {most}")))
    }

    /// Requires a size to be the one that it follows from, where the file has it.
    pub(super) fn require_size(
        &self,
        field: &str,
        size: usize,
        origin: &str,
    ) -> Result<(), ModelError> {
        if self.size(field, Some(size))? != size {
            return Err(self.wrong(field, &format!("{origin} = {size}")));
        }
        Ok(())
    }

    /// A list of numbers below a count, which another field says.
    pub(super) fn indices(
        &self,
        field: &str,
        default: &[usize],
        count: usize,
        counted_by: &str,
    ) -> Result<Vec<usize>, ModelError> {
        let found: Option<Vec<usize>> = match self.get(field) {
            None => Some(default.to_vec()),
            Some(Value::Array(list)) => list.iter().map(as_size).collect(),
            Some(_) => None,
        };
        found
            .filter(|list| list.len() <= MOST_LAYERS && list.iter().all(|index| *index < count))
            .ok_or_else(|| {
                let prefix = &self.prefix;
                self.wrong(
                    field,
                    &format!("a list of numbers below {prefix}{counted_by} = {count}"),
                )
            })
    }

    pub(super) fn positive(&self, field: &str, default: f64) -> Result<f64, ModelError> {
        let found = self.get(field).map_or(Some(default), Value::as_f64);
        found
            .filter(|number| number.is_finite() && *number > 0.0)
            .ok_or_else(|| self.wrong(field, "a positive number"))
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, ModelError> {
        let found = self.get(field).map_or(Some(false), Value::as_bool);
        found.ok_or_else(|| self.wrong(field, "true or false"))
    }

    pub(super) fn require_word(&self, field: &str, word: &str) -> Result<(), ModelError> {
        match self.get(field) {
            Some(found) if found != word => Err(self.wrong(field, &format!("{word:?}"))),
            _ => Ok(()),
        }
    }

    pub(super) fn token_id(
        &self,
        field: &str,
        default: usize,
        vocab: usize,
    ) -> Result<u32, ModelError> {
        let found = self.get(field).map_or(Some(default), as_size);
        found
            .and_then(|id| in_vocabulary(id, vocab))
            .ok_or_else(|| self.wrong(field, &format!("an id below vocab_size = {vocab}")))
    }
}
