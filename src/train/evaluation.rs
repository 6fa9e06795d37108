//! What a run evaluates its policy on.
//! Not here: when it does, and what it writes down of it (`run`); asking and grading (`crate::eval`).

use std::sync::Arc;

use super::error::TrainError;
use super::setup::Setup;
use crate::config::RunConfig;
use crate::data::configured::warn_of_rows;
use crate::eval::questions::{EvaluationQuestions, evaluation_questions};
use crate::processor::Processor;

/// The questions of a run's evaluations.
pub(super) struct Evaluation {
    pub(super) asked: EvaluationQuestions,
    pub(super) processor: Arc<Processor>,
}

impl Evaluation {
    /// `None` where the run never evaluates.
    ///
    /// # Errors
    /// The questions or the processor's files cannot be read.
    pub(super) fn open(config: &RunConfig, setup: &Setup) -> Result<Option<Self>, TrainError> {
        let eval = &config.eval;
        if !eval.before_training && !eval.after_training && config.train.eval_every == 0 {
            return Ok(None);
        }
        let asked = evaluation_questions(config)?;
        warn_of_rows(&asked.questions.dataset);
        let processor = asked.processor(&setup.files)?;
        Ok(Some(Self { asked, processor }))
    }
}
