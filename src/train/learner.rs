//! What moves in a run: the model, its optimiser, the place in the data.
//! Not here: what an update computes (`trainer`), where a run is written (`run`).

use super::error::TrainError;
use super::optimizer::{Optimizer, StepReport, Stepped};
use super::questions::{Batch, Question};
use super::setup::Setup;
use crate::config::RunConfig;
use crate::grpo::kl_schedule::KlSchedule;
use crate::model::qwen2_vl::Qwen2Vl;

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Finished updates.
    pub(super) update: u64,
    /// Places of the order of rows used up.
    pub(super) prompts_seen: u64,
}

/// The model with everything that moves it.
pub(super) struct Learner {
    pub(super) config: RunConfig,
    pub(super) setup: Setup,
    /// The policy that is trained.
    pub(super) model: Qwen2Vl,
    /// The same storage without gradients: samples, and scores for the old policy.
    pub(super) sampler: Qwen2Vl,
    pub(super) optimizer: Optimizer,
    pub(super) kl_schedule: KlSchedule,
    pub(super) progress: Place,
}

impl Learner {
    /// The next `n` questions in the run's order.
    pub(super) fn next_questions(&mut self, n: usize) -> Result<Batch, TrainError> {
        let place = self.progress.prompts_seen;
        self.progress.prompts_seen += n as u64;
        self.setup.questions.take(place, n)
    }

    /// Updates that the next batch of rollouts serves: fewer at the very end of a run.
    pub(super) fn updates_of_batch(&self) -> usize {
        let left = self.setup.total_updates - self.progress.update;
        self.config.grpo.updates_per_rollout.min(left as usize)
    }

    /// Refuses prompts that leave no room for `n_new` tokens.
    pub(super) fn check_lengths(
        &self,
        questions: &[Question],
        n_new: usize,
    ) -> Result<(), TrainError> {
        let limit = self.model.config().text.max_position_embeddings;
        for question in questions {
            let n_prompt = question.prompt.input_ids.len();
            if n_prompt + n_new > limit {
                let sample = question.sample.id.clone();
                return Err(TrainError::TooLong { sample, n_prompt, n_new, limit });
            }
        }
        Ok(())
    }

    /// Makes the optimiser step of the update and counts it.
    pub(super) fn step(
        &mut self,
        samples: impl Fn() -> Vec<String>,
    ) -> Result<StepReport, TrainError> {
        let stepped = self
            .optimizer
            .step(self.model.parameters(), self.progress.update)
            .map_err(TrainError::during("stepping the optimiser"))?;
        match stepped {
            Stepped::Done(report) => {
                self.progress.update += 1;
                Ok(report)
            }
            Stepped::NonFinite(names) => {
                let which = names.first().map_or("gradient", String::as_str);
                let quantity = format!("the gradient of {which}");
                Err(self.not_finite(&quantity, f64::NAN, &samples()))
            }
        }
    }

    /// The error of a number that is none, in the update under way.
    pub(super) fn not_finite(&self, quantity: &str, found: f64, samples: &[String]) -> TrainError {
        let (update, quantity) = (self.progress.update + 1, quantity.to_owned());
        TrainError::NotFinite { update, quantity, found, samples: samples.join(", ") }
    }
}
