//! What can stop a run.
//! Not here: its folder (`run_folder`), a wrong run file (`config`), wrong data (`data`), a wrong model (`model`).

use std::path::PathBuf;

use super::out_of_memory::OutOfMemory;
use super::prompt_sampler::ForeignState;
use crate::identity::IdentityError;
use crate::model::error::ModelError;
use crate::run_folder::RunFolderError;

/// What stopped a run, or kept it from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The run's folder, its records or its checkpoints.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// What the run is computed from.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The model that the run starts from.
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
        /// Identifiers of the samples of the mini-batch, or of the micro-batch with that loss.
        samples: String,
    },
    /// Another process of the same run failed.
    #[error("update {update}: another rank failed\nhint: its own message says why")]
    OtherRank {
        /// The update that was being computed, from 1.
        update: u64,
    },
    /// The saved state of the sampler of prompts.
    #[error("the checkpoint does not fit this run: {0}")]
    Drawing(#[from] ForeignState),
    /// The rows to train on.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// A solution that the reward cannot use.
    #[error(transparent)]
    Solution(#[from] crate::reward::UnusableSolution),
    /// Completions that were to be taken from a file.
    #[error(transparent)]
    Replay(#[from] crate::rollout::replay::ReplayError),
    /// The command of a custom reward.
    #[error(transparent)]
    CustomReward(#[from] crate::reward::ExternalError),
    /// The tokenizer, the chat template or the image settings.
    #[error(transparent)]
    Processor(#[from] crate::processor::ProcessorError),
    /// The run's own evaluation.
    #[error(transparent)]
    Evaluation(#[from] crate::eval::EvalError),
    /// A number type whose gradients underflow.
    #[error(
        "model.dtype is f16, expected auto, bf16 or f32: gradients below f16's least number, 6e-8, would become 0\n\
         hint: auto is bf16 on a GPU and f32 on the CPU; `eval` and `infer` take f16"
    )]
    Underflow,
    /// A run that its GPU has no room for.
    #[error("{shortage}")]
    DoesNotFit {
        /// What it needs, what is available, and what would need less.
        shortage: String,
    },
    /// A GPU whose memory was not enough after all.
    #[error("{told}")]
    OutOfMemory {
        /// The stage, what was held, and what would need less.
        told: Box<OutOfMemory>,
        /// The refused allocation.
        source: Box<TrainError>,
    },
    /// A run was to be resumed at a length below its own.
    #[error(
        "{}: the run has {before} updates, expected at most as many as it is resumed with: {now}\n\
         hint: a run may become longer, not shorter; each of its checkpoints is a model", path.display()
    )]
    Shorter {
        /// The run's configuration.
        path: PathBuf,
        /// Updates of the run.
        before: u64,
        /// Updates that it was to have.
        now: u64,
    },
    /// A run was to become longer whose last batch of rollouts was not learned from as often as others.
    #[error(
        "{}: the run ended after update {update} in the midst of a batch of rollouts, expected a multiple of {of_batch} to go on \
         to a greater length\n\
         hint: start a new run with another --out, whose model.path may be a checkpoint of this one", path.display()
    )]
    CutShort {
        /// The run's configuration.
        path: PathBuf,
        /// Updates made.
        update: u64,
        /// Updates that learn from a batch.
        of_batch: u64,
    },
    /// An update was to be computed again that the run knows nothing of.
    #[error(
        "update {update} is not on record in {}, expected 1 to {last}, or one that failed",
        run.display()
    )]
    NotOnRecord {
        /// The run's folder.
        run: PathBuf,
        /// The update that was asked for, from 1.
        update: u64,
        /// The last one on record.
        last: u64,
    },
    /// Nothing to train on.
    #[error(
        "{name} has no rows, expected at least one\nhint: check data.train and data.max_samples"
    )]
    NoRows {
        /// The data's name.
        name: String,
    },
    /// No row of an epoch can be used.
    #[error(
        "no row of the {n_rows} of an epoch can be used; the last one drawn: {reason}\n\
         hint: data.on_bad_row = \"skip\" leaves out a few rows, not all of them"
    )]
    NoUsableRow {
        /// Rows of an epoch.
        n_rows: usize,
        /// Why the last row drawn was left out.
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
         hint: sft.target = \"auto\" teaches the solution alone where a sample has no reasoning"
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
}

impl TrainError {
    /// Adds what was being done to an error of the tensor library.
    pub(super) fn during(context: &'static str) -> impl Fn(candle_core::Error) -> Self {
        move |source| Self::Tensor { context: context.to_owned(), source }
    }
}
