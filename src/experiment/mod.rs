//! Experiments of several runs: train or reuse each, measure or reuse each, compare.
//!
//! In reading order: [`runs`] trains what has not been trained yet, [`measure`] asks what has not been asked yet; [`seeds`] takes
//! means over seeds; [`cross`] is the paper's Table 1 and Figure 7, [`sweep`] its Figures 4 and 6.
//! Not here: a single run (`train`), a single evaluation (`eval`), when two of them are the same (`identity`), how results
//! look (`cli`, `report`).
//!
//! Everything is kept in one folder of runs. A run and an evaluation are identified by all that decides their outcome,
//! files by their contents, so that repeating a command, in whole or in part, computes only what is missing.

pub mod cross;
pub mod measure;
pub mod runs;
pub mod seeds;
pub mod sweep;

use crate::config::ConfigError;
use crate::data::DataError;
use crate::eval::EvalError;
use crate::eval::answers_file::AnswersFileError;
use crate::identity::IdentityError;
use crate::model::error::ModelError;
use crate::model::gpu::OutOfMemory;
use crate::run_folder::RunFolderError;
use crate::train::error::TrainError;

/// What stopped an experiment. Runs and answers that were finished are kept.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// A run file or an override.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A run.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A run's folder.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// What a run or an evaluation is computed from.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A task.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A GPU whose memory is not enough to measure a model.
    #[error("{told}")]
    OutOfMemory {
        /// What was being done, and what the memory was taken by.
        told: Box<OutOfMemory>,
        /// The refused allocation.
        source: Box<ExperimentError>,
    },
    /// A method's name.
    #[error(
        "unknown method `{found}`, expected {expected}\nhint: for example base,sft,grpo,grpo-d"
    )]
    UnknownMethod {
        /// The name.
        found: String,
        /// The names there are.
        expected: &'static str,
    },
    /// A folder or file of the experiment.
    #[error("cannot {action} {}: {source}\nhint: check free space and permissions", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The path.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl From<AnswersFileError> for ExperimentError {
    fn from(error: AnswersFileError) -> Self {
        Self::Eval(EvalError::File(error))
    }
}
