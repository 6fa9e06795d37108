//! What can be wrong with a run's folder, its records and its checkpoints.
//! Not here: what is wrong with the run itself (`train::error`).

use std::path::PathBuf;

use super::checkpoint::Damage;
use super::origin::Difference;
use crate::model::error::ModelError;

/// Why a run's folder cannot be used, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// Another process holds the folder's lock.
    #[error(
        "output folder {} is in use by another run, expected a free one\n\
         hint: wait for that run to end, or give another --out",
        path.display()
    )]
    InUse {
        /// The run's folder.
        path: PathBuf,
    },
    /// A new run was to be written where there is one.
    #[error(
        "output folder {} already holds a run ({found}), expected none\n\
         hint: add --resume to continue it, or give another --out",
        path.display()
    )]
    HoldsRun {
        /// The run's folder.
        path: PathBuf,
        /// The file or folder that shows it.
        found: String,
    },
    /// A new run was to be written among something else.
    #[error(
        "output folder {} holds {found:?}, expected a new or empty one\nhint: give another --out",
        path.display()
    )]
    HoldsOther {
        /// The folder.
        path: PathBuf,
        /// The first name in it.
        found: String,
    },
    /// The folder of a run that is going on is no longer where it was.
    #[error(
        "the run's folder {} was moved, removed or replaced while the run was going on: nothing more is written\n\
         hint: put it back and --resume the run from its last checkpoint",
        path.display()
    )]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// The output folder's path leads to a file.
    #[error(
        "output folder {} is a file, expected a folder or nothing\nhint: give another --out",
        path.display()
    )]
    NotAFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// A run was to be resumed where there is none.
    #[error(
        "{} holds no config.toml, expected a run to resume\n\
         hint: give the folder of a run, or an empty one",
        path.display()
    )]
    NoRun {
        /// The folder that was looked in.
        path: PathBuf,
    },
    /// A configuration, the stored or the given one, that is not TOML.
    #[error("{place}: not valid TOML: {found}\nhint: {hint}")]
    Config {
        /// The stored file, or `the given configuration`.
        place: String,
        /// What the parser says.
        found: String,
        /// The next move.
        hint: &'static str,
    },
    /// A run was to be resumed with a configuration that would change its numbers.
    #[error(
        "{}: {key} is {stored}, expected what the run is resumed with: {given}\n\
         hint: resume with the run's own configuration, or start a new run with another --out; \
         its model.path may be a checkpoint of this one",
        path.display()
    )]
    ConfigDiffers {
        /// The stored configuration.
        path: PathBuf,
        /// Dotted name of the first key that differs.
        key: String,
        /// Its value in the folder, as TOML.
        stored: String,
        /// Its value in the given configuration, as TOML.
        given: String,
    },
    /// A run was to be resumed over other data, or from another base model.
    #[error(
        "{}: not what the run began with: {}\nhint: {}",
        path.display(), listed(changed), next_move(*is_of_reference)
    )]
    OriginDiffers {
        /// The file that says what it began with.
        path: PathBuf,
        /// What differs.
        changed: Vec<Difference>,
        /// Whether that is what the reference is made of.
        is_of_reference: bool,
    },
    /// The folder does not say what its run is computed from.
    #[error(
        "{}: {found}, expected what the run was computed from: its rows, pictures and base model\n\
         hint: earlier versions did not write that down, so such a run is not resumed; start a new one with another --out, \
         whose model.path may be a checkpoint of this one",
        path.display()
    )]
    NoOrigin {
        /// The file that should say it.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// A run that went on over changed data, or to a greater length, was to be taken for one that did not.
    #[error(
        "{}: the run went on over changed data or to a greater length after update {after_update}, expected one that was trained on \
         the same throughout\n\
         hint: move it elsewhere to have it trained anew, or name another folder of runs",
        path.display()
    )]
    OriginChanged {
        /// The file that says so.
        path: PathBuf,
        /// Updates that were made before the change.
        after_update: u64,
    },
    /// Updates were to be computed again over what the run no longer began with.
    #[error(
        "{}: the run went on over changed data or to a greater length after update {after_update}, expected none of what follows \
         update {update} to be computed from what it was before\n\
         hint: updates after a checkpoint that is younger than the change can be computed again",
        path.display()
    )]
    OriginChangedSince {
        /// The file that says so.
        path: PathBuf,
        /// Updates that were made before the change.
        after_update: u64,
        /// The update that would be begun after.
        update: u64,
    },
    /// A model that was to be used is a checkpoint that is not whole.
    #[error(
        "{0}\nhint: copy it again, or use another checkpoint; a file that was edited on purpose is accepted once \
         trainer/manifest.json is removed from a copy of it"
    )]
    Damaged(Damage),
    /// A file or folder of the run cannot be read, written, moved or removed.
    #[error(
        "cannot {action} {}: {source}\nhint: check free space and permissions",
        path.display()
    )]
    File {
        /// `read`, `write`, `create`, `remove`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of a records file that is no record or not in its place, or a record that is missing there.
    #[error(
        "{}:{line}: {found}\n\
         hint: the file is not as the run wrote it; --resume --repair leaves out what is out of place and keeps a copy of the \
         file",
        path.display()
    )]
    Record {
        /// The records file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What the parser says.
        found: String,
    },
    /// A record or a checkpoint's progress that cannot be written as JSON.
    #[error("cannot express a record of {} as JSON: {source}", path.display())]
    Json {
        /// The file it was for.
        path: PathBuf,
        /// What the serializer said.
        source: serde_json::Error,
    },
    /// There are checkpoints, and none of them is whole.
    #[error(
        "{}: no whole checkpoint to resume from: {found}\n\
         hint: restore one from a copy, or start again with another --out",
        path.display()
    )]
    NoWholeCheckpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// Each checkpoint and its damage.
        found: String,
    },
    /// The newest checkpoint holds a model and no optimiser state.
    #[error(
        "checkpoint {} has no optimiser state, expected it to resume a run\n\
         hint: it was saved with train.save_optimizer = false; start a new run with model.path = that folder",
        path.display()
    )]
    ModelOnly {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Optimiser state or master weights of another number type would lose bits on disk.
    #[error("{file}: {tensor} is {found}, expected F32")]
    StateDtype {
        /// The file it was for or is in.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Its number type.
        found: String,
    },
    /// The model inside a checkpoint, or the trainer's tensors beside it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A stored tensor does not fit on the device.
    #[error("cannot load {tensor}: {source}")]
    Load {
        /// The tensor's name.
        tensor: String,
        /// What candle said.
        source: candle_core::Error,
    },
}

fn listed(changed: &[Difference]) -> String {
    changed.iter().map(Difference::to_string).collect::<Vec<_>>().join(", ")
}

fn next_move(is_of_reference: bool) -> &'static str {
    if is_of_reference {
        "bring the base model's files back, of which the reference is made; or start a new run with another --out, whose \
         model.path may be a checkpoint of this one"
    } else {
        "bring it back as it was; or go on all the same with --allow-changed-data, which writes the change into the run's folder"
    }
}

impl RunFolderError {
    /// Whether the command line is at fault (exit code 2) rather than the disk (exit code 1).
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::InUse { .. }
                | Self::HoldsRun { .. }
                | Self::HoldsOther { .. }
                | Self::NotAFolder { .. }
                | Self::NoRun { .. }
                | Self::Config { .. }
                | Self::ConfigDiffers { .. }
                | Self::OriginDiffers { .. }
                | Self::OriginChanged { .. }
                | Self::OriginChangedSince { .. }
                | Self::NoOrigin { .. }
                | Self::ModelOnly { .. }
        )
    }
}
