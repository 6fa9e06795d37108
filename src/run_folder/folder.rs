//! A run's folder: its lock, and the configuration it belongs to.
//! Not here: the files of records (`records`), the checkpoints (`checkpoint`), reading run files
//! (`config`).
//!
//! ```text
//! runs/NAME/
//!   config.toml           the resolved configuration
//!   origin.json           what rows, pictures and the base model held when the run began
//!   starts.jsonl          a line per start: when, by which program and command, and how it ended
//!   finished              the name of the last checkpoint, once all updates are done
//!   best                  the name of the checkpoint of the best evaluation, where that is kept
//!   metrics.jsonl         a line per update
//!   completions.jsonl     a line per completion
//!   evaluations.jsonl     a line per evaluation
//!   events.out.tfevents.* the same figures for TensorBoard, a file per start of the run
//!   checkpoints/step-000100/
//!   failed/               what is needed to compute failed updates again
//!   .lock                 empty; locked while a run is going on
//! ```

use std::fs::{File, Metadata, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::durable::{failed, replace, sync_folder};
use super::error::RunFolderError;
use super::free::require_free;
use super::identity::require_same;
use super::origin::{Difference, Origin};
use super::removal::report_failure;
use crate::input_file::{self, is_absent};
use crate::ops;

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// The file with a line per update.
pub const METRICS: &str = "metrics.jsonl";
/// The file with a line per completion.
pub const COMPLETIONS: &str = "completions.jsonl";
pub(super) const EVALUATIONS: &str = "evaluations.jsonl";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const LOCK: &str = ".lock";
const FINISHED: &str = "finished";
const BEST: &str = "best";

/// A run's folder, locked for this process until the value is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Which folder of the file system it is; `None` where the system does not say.
    place: Option<Place>,
    /// Closing the file releases the lock, even where the process is killed.
    _lock: Option<File>,
}

impl RunFolder {
    /// Makes the folder of a new run, with its configuration.
    ///
    /// To be called once everything else about the run is known to be right: it is the first write.
    /// A folder that exists may hold what an interrupted beginning has left, nothing else.
    ///
    /// - `resolved_config`: the run file with every default written out
    /// - `origin`: what else the run is computed from
    ///
    /// # Errors
    /// Another process uses the folder, it is not [free](require_free), or it cannot be written.
    pub fn create(
        path: &Path,
        resolved_config: &str,
        origin: &Origin,
    ) -> Result<Self, RunFolderError> {
        if let Err(error) = require_free(path) {
            // If the run is in progress, that is reported first.
            if path.join(LOCK).is_file() {
                lock(path)?;
            }
            return Err(error);
        }
        std::fs::create_dir_all(path).map_err(failed("create", path))?;
        let lock = lock(path)?;
        // Another process may have created a run between the check and the lock.
        require_free(path)?;
        // The configuration is the sign of a run, so a run always has its origin.
        origin.write(path)?;
        replace(path, CONFIG, resolved_config.as_bytes())?;
        let place = Place::of(path).map_err(failed("read", path))?;
        Ok(Self { path: path.to_owned(), place, _lock: lock })
    }

    /// Opens the folder of a run that is to be continued; nothing is written yet.
    ///
    /// The given configuration may differ in keys that change no number, with a warning in keys that change the last bits, and
    /// in the run's length.
    ///
    /// - `resolved_config`: as of [`RunFolder::create`]; [`stored_config`] is what the run began with
    /// - `runs_on`: the path of the run's device and number format
    ///
    /// # Errors
    /// There is no run, another process uses it, it cannot be read, or its configuration differs;
    /// the error names the first key.
    pub fn reopen(
        path: &Path,
        resolved_config: &str,
        runs_on: ops::Path,
    ) -> Result<Reopened, RunFolderError> {
        let stored = stored_config(path)?;
        let lock = lock(path)?;
        let configs = [stored.as_str(), resolved_config];
        let differences = require_same(&path.join(CONFIG), configs, runs_on)?;
        for Difference { key, stored, given } in &differences.last_bits {
            tracing::warn!(
                "{key} was {stored} and is now {given}: from here on numbers may differ in their last bits from those with {stored}"
            );
        }
        let place = Place::of(path).map_err(failed("read", path))?;
        let folder = Self { path: path.to_owned(), place, _lock: lock };
        let config = resolved_config.to_owned();
        Ok(Reopened { folder, stored, config, length: differences.length })
    }

    /// To be called before records are written: files that are open would take them wherever the folder is by now.
    ///
    /// # Errors
    /// The folder was moved, removed or replaced since it was opened, or the system cannot say.
    pub fn require_in_place(&self) -> Result<(), RunFolderError> {
        let found = Place::of(&self.path).map_err(failed("read", &self.path))?;
        let is_there = found.is_some() && found == self.place;
        is_there.then_some(()).ok_or_else(|| RunFolderError::Moved { path: self.path.clone() })
    }

    /// A folder within it, made where there is none yet, but never in what has taken the run's place.
    pub(super) fn subfolder(&self, name: &str) -> Result<PathBuf, RunFolderError> {
        let path = self.path.join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => {
                if let Err(error) = self.require_in_place() {
                    report_failure(std::fs::remove_dir(&path).map_err(failed("remove", &path)));
                    return Err(error);
                }
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                self.require_in_place()?;
                return Err(failed("create", &path)(error));
            }
        }
        Ok(path)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where `metrics.jsonl` is: a line per update.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Where `completions.jsonl` is: a line per completion.
    pub fn completions(&self) -> PathBuf {
        self.path.join(COMPLETIONS)
    }

    /// Where `evaluations.jsonl` is: a line per evaluation.
    pub fn evaluations(&self) -> PathBuf {
        self.path.join(EVALUATIONS)
    }

    /// Writes down that all updates are done.
    ///
    /// - `checkpoint`: the last checkpoint's folder
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&self, checkpoint: &Path) -> Result<(), RunFolderError> {
        self.name_checkpoint(FINISHED, checkpoint)
    }

    /// Writes down which checkpoint is the best.
    ///
    /// - `checkpoint`: its folder
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_best(&self, checkpoint: &Path) -> Result<(), RunFolderError> {
        self.name_checkpoint(BEST, checkpoint)
    }

    /// Whether it is written down that all updates are done, with this last checkpoint.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_finished_with(&self, checkpoint: &Path) -> Result<bool, RunFolderError> {
        Ok(finished_checkpoint(&self.path)?.is_some_and(|last| last == checkpoint))
    }

    /// Takes back that all updates are done, for a run that goes on.
    fn unfinish(&self) -> Result<(), RunFolderError> {
        let path = self.path.join(FINISHED);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            Ok(()) | Err(_) => sync_folder(&self.path),
        }
    }

    fn name_checkpoint(&self, file: &str, checkpoint: &Path) -> Result<(), RunFolderError> {
        let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
        replace(&self.path, file, format!("{name}\n").as_bytes())
    }

    /// The folder of checkpoints, which may not exist yet.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }
}

/// The folder of a run that is to be continued, before anything in it is changed.
#[derive(Debug)]
pub struct Reopened {
    /// The folder.
    pub folder: RunFolder,
    /// The configuration in it, as TOML.
    pub stored: String,
    /// Keys of the run's length whose values are other than there.
    pub length: Vec<Difference>,
    config: String,
}

impl Reopened {
    /// Whether the configuration is to be another one than before in any key.
    pub fn has_changed(&self) -> bool {
        self.stored != self.config
    }

    /// Writes down with what the run goes on: changes of what it is computed from, then its configuration.
    ///
    /// - `after_update`: updates made before
    /// - `changed`: what it goes on over, where that is other than before
    /// - `longer`: whether a greater length leaves the updates that were made what they would have been; `None` where the
    ///   length is the same
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn go_on(
        self,
        after_update: u64,
        changed: Option<Map<String, Value>>,
        longer: Option<bool>,
    ) -> Result<RunFolder, RunFolderError> {
        let Self { folder, stored, length, config } = self;
        if longer.is_some() {
            folder.unfinish()?;
        }
        if changed.is_some() || longer.is_some() {
            let mut origin = Origin::of(&folder.path)?;
            if let Some(contents) = changed {
                origin.change(after_update, contents);
            }
            if let Some(is_as_before) = longer {
                origin.lengthen(after_update, length, is_as_before);
            }
            origin.write(&folder.path)?;
        }
        if stored != config {
            replace(&folder.path, CONFIG, config.as_bytes())?;
        }
        Ok(folder)
    }
}

/// A folder of the file system, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    /// Where a folder is; `None` where there is none, or something else.
    fn of(path: &Path) -> std::io::Result<Option<Self>> {
        match path.metadata() {
            Ok(found) => Ok(found.is_dir().then(|| Self::of_folder(&found))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cfg(unix)]
    fn of_folder(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), inode: found.ino() }
    }

    /// Elsewhere one folder is not told from another at its path.
    #[cfg(not(unix))]
    fn of_folder(_found: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

/// The configuration that the run in `path` was started with, as TOML.
///
/// # Errors
/// There is no run, or its configuration cannot be read.
pub fn stored_config(path: &Path) -> Result<String, RunFolderError> {
    let file = path.join(CONFIG);
    std::fs::read_to_string(&file).map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            RunFolderError::NoRun { path: path.to_owned() }
        }
        _ => failed("read", &file)(source),
    })
}

/// Whether the folder holds a run, finished or not.
///
/// # Errors
/// The system cannot say.
pub fn has_run(path: &Path) -> Result<bool, RunFolderError> {
    let file = path.join(CONFIG);
    let found = input_file::kind(&file).map_err(failed("read", &file))?;
    Ok(found.is_some_and(|found| found.is_file()))
}

/// Where the last checkpoint of a run is whose updates are all done; none where they are not, or there is no run.
///
/// # Errors
/// The run's folder cannot be read.
pub(super) fn finished_checkpoint(path: &Path) -> Result<Option<PathBuf>, RunFolderError> {
    let file = path.join(FINISHED);
    match std::fs::read_to_string(&file) {
        Ok(name) => {
            let checkpoint = path.join(CHECKPOINTS).join(name.trim());
            Ok(checkpoint.is_dir().then_some(checkpoint))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", &file)(source)),
    }
}

/// Bytes of a run's checkpoints, and of what removals have left of them; what cannot be read counts nothing.
///
/// - `run`: the run's folder, which need not exist
pub fn bytes_of_checkpoints(run: &Path) -> u64 {
    fn bytes_below(folder: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let bytes = entries.flatten().map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        });
        bytes.sum()
    }
    bytes_below(&run.join(CHECKPOINTS))
}

/// Takes the folder's lock; `None` on a file system that has no locks.
fn lock(path: &Path) -> Result<Option<File>, RunFolderError> {
    let file = path.join(LOCK);
    // Opened for writing, because network file systems lock exclusively only then.
    let opened = File::options().create(true).truncate(false).write(true).open(&file);
    let opened = opened.map_err(failed("create", &file))?;
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(TryLockError::WouldBlock) => Err(RunFolderError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
            tracing::warn!(path = %file.display(), "this file system has no locks; start no second run here");
            Ok(None)
        }
        Err(TryLockError::Error(source)) => Err(failed("lock", &file)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_folder_is_made_where_the_run_no_longer_is() {
        let outer = tempfile::tempdir().unwrap();
        let [path, aside] = ["run", "aside"].map(|name| outer.path().join(name));
        std::fs::create_dir(&path).unwrap();
        let place = Place::of(&path).unwrap();
        let folder = RunFolder { path: path.clone(), place, _lock: None };
        for _ in 0..2 {
            assert!(folder.subfolder("one").unwrap().is_dir());
        }
        let is_refused = || matches!(folder.subfolder("two"), Err(RunFolderError::Moved { .. }));
        std::fs::rename(&path, aside).unwrap();
        assert!(is_refused() && !path.exists());
        std::fs::create_dir(&path).unwrap();
        assert!(is_refused() && std::fs::read_dir(&path).unwrap().next().is_none());
    }
}
