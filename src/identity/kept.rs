//! Fingerprints of files that are not read again while the files are as they were.
//! Not here: computing them (`fingerprint`).
//!
//! A fingerprint is kept under the state of all files that it was computed from: path, size, and what the system notes of
//! a change (`marks`: on Unix device, inode and the times of the last changes, to the nanosecond). A file that was changed
//! within the last seconds is read each time, since a second change in the same tick of the clock would not show.
//!
//! ```text
//! HF_HOME/assets/othink/fingerprints/STATE    a fingerprint; may be deleted at any time
//! ```

#[cfg_attr(unix, path = "marks_unix.rs")]
#[cfg_attr(not(unix), path = "marks_elsewhere.rs")]
mod marks;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::hub::Hub;
use crate::out_file;

/// Longer than a tick of any file system's clock: FAT's is 2 s.
const SETTLES_AFTER: Duration = Duration::from_secs(3);

/// The folder of kept fingerprints.
#[derive(Debug, Clone)]
pub struct Kept {
    folder: PathBuf,
}

/// Files as they are before a fingerprint is computed from them.
#[derive(Debug)]
pub(super) struct FilesState {
    /// What is computed from them.
    what: String,
    files: Vec<PathBuf>,
    name: String,
    is_settled: bool,
}

impl FilesState {
    /// - `what`: what is computed from the files, and anything else that it is computed from
    pub(super) fn of(what: String, files: Vec<PathBuf>) -> Self {
        let mut hash = Sha256::new();
        let mut update = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        update(what.as_bytes());
        let mut is_settled = true;
        for file in &files {
            let path = std::path::absolute(file);
            update(path.as_deref().unwrap_or(file).as_os_str().as_encoded_bytes());
            let Ok(metadata) = std::fs::metadata(file) else {
                is_settled = false;
                continue;
            };
            update(&metadata.len().to_le_bytes());
            for mark in marks::marks(&metadata) {
                update(&mark.to_le_bytes());
            }
            let age = marks::changed(&metadata)
                .and_then(|changed| SystemTime::now().duration_since(changed).ok());
            is_settled &= age.is_some_and(|age| age > SETTLES_AFTER);
        }
        Self { name: format!("{:x}", hash.finalize()), what, files, is_settled }
    }

    fn is_still_so(&self) -> bool {
        self.is_settled && Self::of(self.what.clone(), self.files.clone()).name == self.name
    }
}

impl Kept {
    /// What this program keeps beside the hub's cache.
    pub fn here() -> Self {
        Self::at(&Hub::from_env().assets_folder())
    }

    /// - `folder`: of what this program keeps; it need not exist
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.join("fingerprints") }
    }

    /// The fingerprint that was computed from files in this state; none where none was kept.
    pub(super) fn find(&self, state: &FilesState) -> Option<String> {
        if !state.is_settled {
            return None;
        }
        let text = std::fs::read_to_string(self.folder.join(&state.name)).ok()?;
        let found = text.strip_suffix('\n')?;
        let is_fingerprint = found.len() == 16 && found.bytes().all(|b| b.is_ascii_hexdigit());
        is_fingerprint.then(|| found.to_owned())
    }

    /// Keeps a fingerprint, if the files did not change while it was computed. Where it cannot be written, it is computed
    /// anew the next time.
    pub(super) fn keep(&self, state: &FilesState, fingerprint: &str) {
        if !state.is_still_so() {
            return;
        }
        let written = || -> io::Result<()> {
            std::fs::create_dir_all(&self.folder)?;
            out_file::write(&self.folder.join(&state.name), format!("{fingerprint}\n").as_bytes())
        };
        if let Err(error) = written() {
            let folder = self.folder.display();
            tracing::warn!(
                "cannot keep fingerprints in {folder}, so files are read in full at every start: {error}"
            );
        }
    }

    /// The kept fingerprint, or else the computed one, which is kept.
    pub(super) fn or_compute<E>(
        &self,
        state: &FilesState,
        compute: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        if let Some(found) = self.find(state) {
            return Ok(found);
        }
        let computed = compute()?;
        self.keep(state, &computed);
        Ok(computed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const AN_HOUR: Duration = Duration::from_hours(1);

    /// A file that `touch` made older than it is.
    fn aged(path: &Path, contents: &str) {
        std::fs::write(path, contents).unwrap();
        let then = SystemTime::now() - AN_HOUR;
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    fn state(path: &Path) -> FilesState {
        FilesState::of("contents".to_owned(), vec![path.to_owned()])
    }

    #[test]
    fn a_file_is_read_again_only_where_it_may_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        // Older than any change of this test.
        let path = std::env::current_dir().unwrap().join("Cargo.toml");
        let computed = |what: &str, value: &str| {
            let state = FilesState::of(what.to_owned(), vec![path.clone()]);
            kept.or_compute::<()>(&state, || Ok(value.to_owned())).unwrap()
        };
        assert_eq!(computed("contents", "0123456789abcdef"), "0123456789abcdef");
        assert_eq!(computed("contents", "fedcba9876543210"), "0123456789abcdef");
        assert_eq!(computed("something else", "fedcba9876543210"), "fedcba9876543210");
        // What was cut short is computed anew.
        let entry = folder.path().join("fingerprints").join(state(&path).name);
        assert_eq!(std::fs::read_to_string(&entry).unwrap(), "0123456789abcdef\n");
        std::fs::write(&entry, "0123").unwrap();
        assert_eq!(computed("contents", "fedcba9876543210"), "fedcba9876543210");
    }

    #[test]
    fn nothing_is_kept_of_a_file_that_was_just_changed_or_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        let path = folder.path().join("file");
        for present in [false, true] {
            if present {
                std::fs::write(&path, "one").unwrap();
            }
            let before = state(&path);
            kept.keep(&before, "0123456789abcdef");
            assert_eq!(kept.find(&state(&path)), None);
        }
    }

    #[test]
    fn every_change_that_the_system_notes_is_another_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        aged(&path, "one");
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let first = state(&path).name;
        assert_eq!(state(&path).name, first);
        aged(&path, "three");
        assert_ne!(state(&path).name, first, "another size");
        // The same size and time of modification in a file of its own.
        let other = folder.path().join("other");
        std::fs::write(&other, "two").unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(cfg!(unix), state(&path).name != first, "another file under the same name");
        std::fs::remove_file(&path).unwrap();
        assert_ne!(state(&path).name, first, "no file");
    }
}
