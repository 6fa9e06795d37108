//! The ways a run can fail around its arithmetic: its folder, its checkpoints, its records.
//! Not here: a wrong run file (`config`), wrong data (`data`), a wrong model (`model`).

use std::path::PathBuf;

use crate::model::error::ModelError;

/// What stopped a run, or kept it from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
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
        found: &'static str,
    },
    /// The output folder's path leads to something else.
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
         hint: leave --resume out to start one there",
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
    /// A line of a records file that is none.
    #[error(
        "{}:{line}: {found}, expected one JSON object with a whole number `update`\n\
         hint: remove the line; only an unfinished last line is cut off unasked",
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
         hint: train.save_optimizer = false left it out; start a new run with model.path = that folder",
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
    /// The tensor library refused a step of the run.
    #[error("{context}: {source}")]
    Tensor {
        /// What was being done.
        context: String,
        /// What candle said.
        source: candle_core::Error,
    },
    /// The resolved run file cannot be written as TOML.
    #[error("cannot write the resolved run file: {source}")]
    Resolve {
        /// What the configuration said.
        source: crate::config::ConfigError,
    },
    /// A loss or a gradient that is not a number, or is infinite.
    #[error(
        "update {update}: {quantity} is {found}, expected a finite number (samples {samples})\n\
         hint: no parameter was changed and the last checkpoint stands; look at these samples, \
         or lower optim.lr or optim.clip_norm and start again"
    )]
    NotFinite {
        /// The update that was being computed, from 1.
        update: u64,
        /// `loss`, or the parameter whose gradient it is.
        quantity: String,
        /// The value.
        found: f64,
        /// Identifiers of the samples in the batch, or of the one to blame.
        samples: String,
    },
    /// The rows to train on.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// A solution that the reward's rule cannot read.
    #[error(
        "sample {sample}: {source}\nhint: data.allow_unparsable = true (--allow-unparsable of eval) counts such rows instead"
    )]
    UnparsableGold {
        /// The sample's identifier: file and row.
        sample: String,
        /// What the rule said.
        source: crate::reward::UnusableGold,
    },
    /// The command of a custom reward.
    #[error(transparent)]
    CustomReward(#[from] crate::reward::ExternalError),
    /// A rule's name that does not exist.
    #[error(transparent)]
    Rule(#[from] crate::reward::grading::rule::UnknownRule),
    /// The tokenizer, the chat template or the image settings.
    #[error(transparent)]
    Processor(#[from] crate::processor::ProcessorError),
    /// The run's own evaluation.
    #[error(transparent)]
    Evaluation(#[from] crate::eval::EvalError),
    /// Nothing to train on.
    #[error(
        "{name} has no rows, expected at least one\nhint: check data.train and data.max_samples"
    )]
    NoRows {
        /// The data's name.
        name: String,
    },
    /// A whole batch of rows was left out.
    #[error(
        "none of {n_rows} rows in a row can be used; the first: {reason}\n\
         hint: data.on_bad_row = \"skip\" leaves out a few rows, not all of them"
    )]
    NoUsableRow {
        /// Rows of the batch.
        n_rows: usize,
        /// Why the first was left out.
        reason: String,
    },
    /// The system has no more threads.
    #[error("cannot start a thread: {source}\nhint: lower data.workers")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
    /// A sample that supervised training cannot learn from.
    #[error(
        "sample {sample} has no reasoning to teach, expected a field `completion`, `thinking` or `reasoning`\n\
         hint: sft.target = \"auto\" teaches the solution alone where there is no more"
    )]
    NoCompletion {
        /// The sample's identifier.
        sample: String,
    },
    /// A prompt that leaves no room for its completions.
    #[error(
        "sample {sample}: {n_prompt} prompt tokens and {n_new} new ones exceed the model's {limit} positions\n\
         hint: lower data.max_pixels or rollout.max_new_tokens"
    )]
    TooLong {
        /// The sample's identifier.
        sample: String,
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens that may follow.
        n_new: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// The handler of Ctrl-C cannot be installed.
    #[error("cannot listen for Ctrl-C: {source}")]
    Interrupt {
        /// What the system said.
        source: ctrlc::Error,
    },
}

impl TrainError {
    /// Turns the tensor library's errors into ones that say what was being done.
    pub(super) fn during(context: &'static str) -> impl Fn(candle_core::Error) -> Self {
        move |source| Self::Tensor { context: context.to_owned(), source }
    }

    /// Whether the command line is at fault (exit code 2) rather than the run (exit code 1).
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::InUse { .. }
                | Self::HoldsRun { .. }
                | Self::NotAFolder { .. }
                | Self::NoRun { .. }
                | Self::ConfigDiffers { .. }
                | Self::ModelOnly { .. }
        )
    }
}
