//! What a run evaluates its policy on, and which evaluation was the best.
//! Not here: when it does, and what it writes down of it (`run`); asking and grading (`crate::eval`).

use std::sync::Arc;

use super::error::TrainError;
use super::pictures::look_at_pictures;
use super::setup::Setup;
use crate::config::RunConfig;
use crate::data::configured::{held_out_rows, trained_on, warn_of_rows};
use crate::eval::questions::{EvaluationQuestions, evaluation_questions};
use crate::processor::Processor;
use crate::progress::ProgressDisplay;
use crate::run_folder::records::EvaluationRecord;
use crate::run_folder::{RunFolder, checkpoint, json_lines};

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
    pub(super) fn open(
        config: &RunConfig,
        setup: &Setup,
        display: &ProgressDisplay,
    ) -> Result<Option<Self>, TrainError> {
        let eval = &config.eval;
        if !eval.before_training && !eval.after_training && config.train.eval_every == 0 {
            return Ok(None);
        }
        let asked = evaluation_questions(config)?;
        let dataset = &asked.questions.dataset;
        // Those that are held out were warned of with the others of their file.
        if config.held_out().is_none() {
            warn_of_rows(dataset);
        }
        dataset.check_images()?;
        look_at_pictures(dataset, asked.settings.n_questions(dataset), display)?;
        let processor = asked.processor(&setup.files)?;
        Ok(Some(Self { asked, processor }))
    }
}

/// What a run trains on, in a phrase.
///
/// # Errors
/// The rows cannot be read.
pub(super) fn trains_on(
    config: &RunConfig,
    setup: &Setup,
    evaluation: Option<&Evaluation>,
) -> Result<String, TrainError> {
    let held_out = match evaluation {
        Some(Evaluation { asked, .. }) if config.held_out().is_some() => {
            asked.questions.dataset.len()
        }
        Some(_) => 0,
        None => held_out_rows(config)?.map_or(0, |rows| rows.len()),
    };
    Ok(trained_on(config, &setup.questions.all().dataset, held_out))
}

/// The evaluation whose checkpoint is kept: the one with the highest accuracy of those after an update, of equal ones the
/// first. What is measured before training is the base model, which stays where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Best {
    is_kept: bool,
    /// After how many updates it was, and its accuracy.
    highest: Option<(u64, f64)>,
}

impl Best {
    /// The best of the evaluations on record whose checkpoints are there.
    ///
    /// # Errors
    /// The run's records cannot be read.
    pub(super) fn on_record(config: &RunConfig, folder: &RunFolder) -> Result<Self, TrainError> {
        let mut best = Self { is_kept: config.train.keep_best, highest: None };
        for evaluation in &json_lines::read::<EvaluationRecord>(&folder.evaluations())? {
            if checkpoint::path_of(folder, evaluation.update).is_dir() {
                best.observe(evaluation);
            }
        }
        Ok(best)
    }

    /// Takes one more into account; whether its checkpoint is to be kept so far.
    pub(super) fn observe(&mut self, evaluation: &EvaluationRecord) -> bool {
        let (update, accuracy) = (evaluation.update, evaluation.summary.accuracy);
        let is_higher = self.highest.is_none_or(|(_, highest)| accuracy > highest);
        let is_best = self.is_kept && update > 0 && is_higher;
        if is_best {
            self.highest = Some((update, accuracy));
        }
        is_best
    }

    /// After how many updates it was; `None` where there is none, or it is not kept.
    pub(super) fn update(self) -> Option<u64> {
        self.highest.map(|(update, _)| update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::summarize;
    use crate::reward::Rule;

    #[test]
    fn the_first_of_the_highest_after_training_began_is_the_best() {
        let course = [(0, 0.9), (10, 0.2), (20, 0.5), (30, 0.5), (40, 0.4)];
        let best = |n: usize, is_kept| {
            let mut best = Best { is_kept, highest: None };
            for &(update, accuracy) in &course[..n] {
                let mut summary = summarize("task", Rule::AnswerTag, &[]);
                summary.accuracy = accuracy;
                best.observe(&EvaluationRecord { update, summary });
            }
            best.update()
        };
        let expected = [None, Some(10), Some(20), Some(20), Some(20)];
        assert_eq!([1, 2, 3, 4, 5].map(|n| best(n, true)), expected);
        assert_eq!(best(5, false), None);
    }
}
