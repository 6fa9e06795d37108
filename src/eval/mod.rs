//! Measuring a model on a task: accuracy and format rate with 95% intervals.
//!
//! In reading order: [`questions`] opens the questions that a run file measures on; [`ask`] asks them, [`answer`] grades
//! an answer, [`answers_file`] keeps it, [`summary`] counts it with [`votes`] and [`interval`]; [`paired`] compares two
//! models on the same questions; [`grading`] grades completions on disk.
//! Not here: sampling (`rollout`), the rules (`reward`), what is printed (`cli`).

pub mod answer;
pub mod answers_file;
pub mod ask;
pub mod grading;
pub mod interval;
pub mod paired;
pub mod questions;
pub mod summary;
pub mod votes;

pub use answer::Answer;
pub use ask::{EvalSettings, evaluate};
pub use questions::{EvaluationQuestions, evaluation_questions};
pub use summary::{ComponentMean, Summary, Tally, accuracy_over_seeds, summarize};

use self::answers_file::AnswersFileError;
use crate::data::DataError;
use crate::processor::ProcessorError;

/// What stopped an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A row of the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A solution that no answer can equal.
    #[error(transparent)]
    Solution(#[from] crate::reward::UnusableSolution),
    /// The tokenizer, or settings of the processor.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// A prompt that leaves no room for its answer.
    #[error(
        "sample {sample}: {n_prompt} prompt tokens and {n_new} new ones exceed the model's {limit} positions\n\
         hint: lower the image's pixels or the number of new tokens"
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
    /// The data has no row.
    #[error("{name} has no rows, expected at least one")]
    NoRows {
        /// The data's name.
        name: String,
    },
    /// The tensor library.
    #[error("decoding answers: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The file of answers.
    #[error(transparent)]
    File(#[from] AnswersFileError),
    /// The system has no more threads.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}
