//! What a run is computed from besides its configuration, written down when it begins and compared when it is resumed.
//! Not here: saying what that is (`crate::identity`); the configuration's keys (`identity`).
//!
//! ```text
//! runs/NAME/origin.json
//!   contents   a fingerprint for each thing: rows, pictures, each of the base model's files, ...
//!   changes    what was other than before when the run was resumed all the same, its length included, and after how many updates
//! ```

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::durable::{failed, replace};
use super::error::RunFolderError;

pub(super) const ORIGIN: &str = "origin.json";

/// What a run is computed from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    contents: Map<String, Value>,
    changes: Vec<Change>,
}

/// What was changed before a run was resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    after_update: u64,
    changed: Vec<Difference>,
    /// Whether the updates before are what they would have been had it been so from the beginning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_as_before: bool,
}

/// A key with its two values, as they are written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// What is compared.
    pub key: String,
    /// Its value in the folder.
    pub stored: String,
    /// Its value now.
    pub given: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {} and is now {}", self.key, self.stored, self.given)
    }
}

impl Origin {
    /// Of a run that begins.
    pub fn new(contents: Map<String, Value>) -> Self {
        Self { contents, changes: Vec::new() }
    }

    /// What is written down of the run in `path`.
    ///
    /// # Errors
    /// Nothing, or the file cannot be read.
    pub fn of(path: &Path) -> Result<Self, RunFolderError> {
        let path = file(path);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(RunFolderError::NoOrigin { path, found: "no such file".to_owned() });
            }
            Err(source) => return Err(failed("read", &path)(source)),
        };
        serde_json::from_slice(&text)
            .map_err(|error| RunFolderError::NoOrigin { path, found: error.to_string() })
    }

    /// What it is computed from, by name.
    pub fn contents(&self) -> &Map<String, Value> {
        &self.contents
    }

    /// Writes it into the run's folder.
    pub(super) fn write(&self, path: &Path) -> Result<(), RunFolderError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| RunFolderError::Json { path: file(path), source })?;
        replace(path, ORIGIN, format!("{text}\n").as_bytes())
    }

    /// What differs from `contents`, in the stored order and then in the given one.
    fn differences(&self, contents: &Map<String, Value>) -> Vec<Difference> {
        let spell = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "absent".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let only_given = contents.keys().filter(|key| !self.contents.contains_key(*key));
        let keys = self.contents.keys().chain(only_given);
        keys.map(|key| (key, self.contents.get(key), contents.get(key)))
            .filter(|(_, stored, given)| stored != given)
            .map(|(key, stored, given)| Difference {
                key: key.clone(),
                stored: spell(stored),
                given: spell(given),
            })
            .collect()
    }

    /// Compares with what the run in `path` would be resumed on; returns what has changed. The reference's own files must
    /// not have, since a run has one reference.
    ///
    /// - `allows_changes`: whether anything else may have
    ///
    /// # Errors
    /// Something differs that must not.
    pub fn compare(
        &self,
        path: &Path,
        contents: &Map<String, Value>,
        allows_changes: bool,
    ) -> Result<Vec<Difference>, RunFolderError> {
        let changed = self.differences(contents);
        let (of_reference, others): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|difference| is_of_reference(&difference.key));
        let path = file(path);
        match (of_reference.is_empty(), others.is_empty() || allows_changes) {
            (true, true) => Ok(others),
            (false, _) => {
                let changed = [of_reference, others].concat();
                Err(RunFolderError::OriginDiffers { path, changed, is_of_reference: true })
            }
            (true, false) => {
                Err(RunFolderError::OriginDiffers { path, changed: others, is_of_reference: false })
            }
        }
    }

    /// Takes what the run goes on with, and remembers what it was before.
    pub(super) fn change(&mut self, after_update: u64, contents: Map<String, Value>) {
        let changed = self.differences(&contents);
        self.changes.push(Change { after_update, changed, is_as_before: false });
        self.contents = contents;
    }

    /// Takes it that the run goes on to a greater length, once: a resumption that failed may have said so already.
    pub(super) fn lengthen(
        &mut self,
        after_update: u64,
        changed: Vec<Difference>,
        is_as_before: bool,
    ) {
        let change = Change { after_update, changed, is_as_before };
        if self.changes.last() != Some(&change) {
            self.changes.push(change);
        }
    }

    /// Whether the run in `path` was computed from the same throughout, and at one length.
    ///
    /// # Errors
    /// It was not.
    pub fn require_unchanged(&self, path: &Path) -> Result<(), RunFolderError> {
        match self.changes.first() {
            None => Ok(()),
            Some(Change { after_update, .. }) => {
                let after_update = *after_update;
                Err(RunFolderError::OriginChanged { path: file(path), after_update })
            }
        }
    }
}

impl Origin {
    /// Whether the run in `path` was computed from the same since an update.
    ///
    /// # Errors
    /// It was not.
    pub fn require_unchanged_since(&self, path: &Path, update: u64) -> Result<(), RunFolderError> {
        let matters = |change: &&Change| change.after_update > update && !change.is_as_before;
        match self.changes.iter().find(matters) {
            None => Ok(()),
            Some(Change { after_update, .. }) => {
                let after_update = *after_update;
                Err(RunFolderError::OriginChangedSince { path: file(path), after_update, update })
            }
        }
    }
}

fn file(run: &Path) -> PathBuf {
    run.join(ORIGIN)
}

/// Whether the reference is made of it: the base model's configuration and weights.
fn is_of_reference(key: &str) -> bool {
    key == "config.json" || key.ends_with(".safetensors")
}
