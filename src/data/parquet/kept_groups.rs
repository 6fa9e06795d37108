//! The row groups of pictures read last, kept for the rows that are fetched next.
//! Not here: which row groups are kept (`stored`).

use super::stored::StoredPicture;
use crate::data::DataError;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Larger row groups are not kept.
pub(super) const MAX_GROUP_BYTES: usize = 32 << 20;
/// What all row groups that are kept may hold together.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// A file and the number of a row group in it.
type Key = (Arc<Path>, usize);
type Rows = Arc<Vec<Vec<StoredPicture>>>;

/// At most [`MAX_KEPT_BYTES`] of pictures; the least recently used group is dropped first.
#[derive(Default)]
pub(in crate::data) struct KeptGroups {
    groups: Mutex<VecDeque<Group>>,
}

struct Group {
    key: Key,
    n_bytes: usize,
    rows: Rows,
}

impl KeptGroups {
    /// The rows of a group of `n_bytes`, from memory if they are there. The lock is not held while a group is read.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn get_or_read(
        &self,
        key: Key,
        n_bytes: usize,
        read: impl FnOnce() -> Result<Vec<Vec<StoredPicture>>, DataError>,
    ) -> Result<Rows, DataError> {
        if let Some(rows) = self.with(|groups| {
            let group = groups.iter().position(|group| group.key == key)?;
            let group = groups.remove(group)?;
            let rows = group.rows.clone();
            groups.push_back(group);
            Some(rows)
        }) {
            return Ok(rows);
        }
        let rows = Arc::new(read()?);
        self.with(|groups| {
            groups.retain(|group| group.key != key);
            groups.push_back(Group { key, n_bytes, rows: rows.clone() });
            while n_kept_bytes(groups) > MAX_KEPT_BYTES {
                groups.pop_front();
            }
        });
        Ok(rows)
    }

    /// What is kept now.
    #[cfg(test)]
    pub(in crate::data) fn n_bytes(&self) -> usize {
        self.with(|groups| n_kept_bytes(groups))
    }

    fn with<T>(&self, act: impl FnOnce(&mut VecDeque<Group>) -> T) -> T {
        act(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn n_kept_bytes(groups: &VecDeque<Group>) -> usize {
    groups.iter().map(|group| group.n_bytes).sum()
}
