//! A run's folder: who may write into it, and the configuration it belongs to.
//! Not here: the files of records (`records`), the checkpoints (`checkpoint`), reading run files
//! (`config`).
//!
//! ```text
//! runs/NAME/
//!   config.toml           the resolved configuration
//!   finished              the name of the last checkpoint, once all updates are done
//!   metrics.jsonl         a line per update
//!   completions.jsonl     a line per completion
//!   evaluations.jsonl     a line per evaluation
//!   events.out.tfevents.* the same figures for TensorBoard, a file per sitting
//!   checkpoints/step-000100/
//!   .lock                 empty; locked while a run is going on
//! ```

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::durable::{failed, replace};
use super::error::TrainError;

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const COMPLETIONS: &str = "completions.jsonl";
const EVALUATIONS: &str = "evaluations.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = ".lock";
const FINISHED: &str = "finished";

/// Keys that a run may be resumed with in another value: what they decide is how fast the run is,
/// what it keeps and what it reports, not what it computes. `tokens_per_micro_batch` moves the last
/// bits of a gradient's sum and is here all the same: lowering it is the way out of a full memory.
const MAY_DIFFER: [&str; 12] = [
    "data.prefetch",
    "data.workers",
    "eval.after_training",
    "eval.max_batch",
    "model.activation_checkpointing",
    "rollout.max_batch",
    "train.checkpoint_every",
    "train.eval_every",
    "train.keep",
    "train.save_optimizer",
    "train.tokens_per_micro_batch",
    "train.warn_*",
];

/// A run's folder, locked for this process until the value is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Closing the file releases the lock, even where the process is killed.
    _lock: Option<File>,
}

impl RunFolder {
    /// Makes the folder of a new run, with its configuration.
    ///
    /// To be called once everything else about the run is known to be right: it is the first write.
    /// A folder that exists may hold other things, but no run.
    ///
    /// - `resolved_config`: the run file with every default written out
    ///
    /// # Errors
    /// Another process uses the folder, it holds a run, or it cannot be written.
    pub fn create(path: &Path, resolved_config: &str) -> Result<Self, TrainError> {
        if path.exists() && !path.is_dir() {
            return Err(TrainError::NotAFolder { path: path.to_owned() });
        }
        if let Some(found) = sign_of_a_run(path) {
            // A run that is going on is the more urgent news.
            if path.join(LOCK).exists() {
                lock(path)?;
            }
            return Err(TrainError::HoldsRun { path: path.to_owned(), found });
        }
        std::fs::create_dir_all(path).map_err(failed("create", path))?;
        let lock = lock(path)?;
        // Another process may have come first between the look and the lock.
        if let Some(found) = sign_of_a_run(path) {
            return Err(TrainError::HoldsRun { path: path.to_owned(), found });
        }
        replace(path, CONFIG, resolved_config.as_bytes())?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Opens the folder of a run that is to be continued.
    ///
    /// Where the given configuration differs in keys that change no number, the stored one becomes
    /// the given one.
    ///
    /// - `resolved_config`: as of [`RunFolder::create`]; [`stored_config`] is what the run began with
    ///
    /// # Errors
    /// There is no run, another process uses it, it cannot be read, or its configuration differs;
    /// the error names the first key.
    pub fn reopen(path: &Path, resolved_config: &str) -> Result<Self, TrainError> {
        let stored = stored_config(path)?;
        let lock = lock(path)?;
        require_same(&path.join(CONFIG), &stored, resolved_config)?;
        if stored != resolved_config {
            replace(path, CONFIG, resolved_config.as_bytes())?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
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
    pub fn finish(&self, checkpoint: &Path) -> Result<(), TrainError> {
        let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
        replace(&self.path, FINISHED, format!("{name}\n").as_bytes())
    }

    /// The folder of checkpoints, which may not exist yet.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }
}

/// The configuration that the run in `path` was started with, as TOML.
///
/// # Errors
/// There is no run, or its configuration cannot be read.
pub fn stored_config(path: &Path) -> Result<String, TrainError> {
    let file = path.join(CONFIG);
    std::fs::read_to_string(&file).map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            TrainError::NoRun { path: path.to_owned() }
        }
        _ => failed("read", &file)(source),
    })
}

/// Whether the folder holds a run, finished or not.
pub fn has_run(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// The last checkpoint of a run whose updates are all done; none where they are not, or there is no run.
///
/// # Errors
/// The run's folder cannot be read.
pub fn finished_checkpoint(path: &Path) -> Result<Option<PathBuf>, TrainError> {
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

/// A resolved configuration without the keys that change no number: two runs with the same one compute the same.
///
/// # Errors
/// It is not TOML.
pub fn decisive_config(resolved_config: &str) -> Result<String, TrainError> {
    let parsed = resolved_config.parse::<Table>().map_err(|error| TrainError::Config {
        place: "the given configuration".to_owned(),
        found: error.message().to_owned(),
        hint: "resolve it first",
    })?;
    Ok(without_free_keys("", parsed).to_string())
}

fn without_free_keys(prefix: &str, table: Table) -> Table {
    let kept = table.into_iter().filter_map(|(name, value)| {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(table) => {
                Some((name, Value::Table(without_free_keys(&format!("{key}."), table))))
            }
            value => (!may_differ(&key)).then_some((name, value)),
        }
    });
    kept.collect()
}

/// The first of a run's own files that the folder holds.
fn sign_of_a_run(path: &Path) -> Option<&'static str> {
    [CONFIG, METRICS, COMPLETIONS, EVALUATIONS, CHECKPOINTS]
        .into_iter()
        .find(|name| path.join(name).exists())
}

/// Takes the folder's lock; `None` on a file system that has no locks.
fn lock(path: &Path) -> Result<Option<File>, TrainError> {
    let file = path.join(LOCK);
    // Opened for writing, because network file systems lock exclusively only then.
    let opened = File::options().create(true).truncate(false).write(true).open(&file);
    let opened = opened.map_err(failed("create", &file))?;
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(TryLockError::WouldBlock) => Err(TrainError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
            tracing::warn!(path = %file.display(), "this file system has no locks; start no second run here");
            Ok(None)
        }
        Err(TryLockError::Error(source)) => Err(failed("lock", &file)(source)),
    }
}

fn require_same(path: &Path, stored: &str, given: &str) -> Result<(), TrainError> {
    let parse = |text: &str, place: String, hint| {
        text.parse::<Table>().map_err(|error| TrainError::Config {
            place,
            found: error.message().to_owned(),
            hint,
        })
    };
    let hint = "restore the file from a copy, or start again with another --out";
    let stored = parse(stored, path.display().to_string(), hint)?;
    let given = parse(given, "the given configuration".to_owned(), "resolve it first")?;
    let Some(difference) = first_difference("", &stored, &given) else { return Ok(()) };
    let spell = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
    Err(TrainError::ConfigDiffers {
        path: path.to_owned(),
        stored: spell(difference.stored),
        given: spell(difference.given),
        key: difference.key,
    })
}

/// A key that changes the run's numbers, and its two values.
struct Difference<'a> {
    key: String,
    stored: Option<&'a Value>,
    given: Option<&'a Value>,
}

/// The first key, in the stored table's order and then in the given one's, whose values differ.
fn first_difference<'a>(
    prefix: &str,
    stored: &'a Table,
    given: &'a Table,
) -> Option<Difference<'a>> {
    let only_given = given.keys().filter(|key| !stored.contains_key(*key));
    for name in stored.keys().chain(only_given) {
        let key = format!("{prefix}{name}");
        let difference = match (stored.get(name), given.get(name)) {
            (Some(Value::Table(stored)), Some(Value::Table(given))) => {
                first_difference(&format!("{key}."), stored, given)
            }
            (stored, given) => {
                (stored != given && !may_differ(&key)).then_some(Difference { key, stored, given })
            }
        };
        if difference.is_some() {
            return difference;
        }
    }
    None
}

fn may_differ(key: &str) -> bool {
    MAY_DIFFER.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == *allowed,
    })
}
