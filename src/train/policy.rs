//! What changes during a run: the policy, its optimiser, the number of updates made.
//! Not here: what an update computes (`update`, `supervised_update`), where a run is written (`run`).

use candle_core::Tensor;

use super::error::TrainError;
use super::ranks::Ranks;
use super::step::{Optimizer, StepReport, Stepped};
use crate::model::Model;

/// The policy with its optimiser and progress.
pub(super) struct Policy {
    /// The model that is trained.
    pub(super) model: Model,
    /// The same storage without gradients: it samples, and scores for the old policy.
    pub(super) sampling: Model,
    pub(super) optimizer: Optimizer,
    /// Finished updates.
    pub(super) update: u64,
    pub(super) ranks: Box<dyn Ranks>,
}

impl Policy {
    /// A policy whose parameters are the same on every rank.
    ///
    /// # Errors
    /// A rank cannot be reached.
    pub(super) fn new(
        model: Model,
        optimizer: Optimizer,
        update: u64,
        ranks: Box<dyn Ranks>,
    ) -> candle_core::Result<Self> {
        let values: Vec<Tensor> =
            model.parameters().trained().map(|p| p.value().detach()).collect();
        ranks.broadcast(&values)?;
        let sampling = model.detached()?;
        Ok(Self { model, sampling, optimizer, update, ranks })
    }

    /// Makes the optimiser step of the update under way and counts it.
    ///
    /// - `samples`: the identifiers of the update's samples, for the message of an error
    pub(super) fn step(
        &mut self,
        samples: impl Fn() -> Vec<String>,
    ) -> Result<StepReport, TrainError> {
        let stepped = self
            .optimizer
            .step(self.model.parameters(), self.update, self.ranks.as_ref())
            .map_err(TrainError::during("stepping the optimiser"))?;
        match stepped {
            Stepped::Done(report) => {
                self.update += 1;
                Ok(report)
            }
            Stepped::NonFinite(norm) => {
                let (quantity, found) = norm.culprit();
                Err(self.not_finite(&quantity, found, &samples()))
            }
        }
    }

    /// Returns the outcome if every rank succeeded, else an error on every rank.
    pub(super) fn agreed<T>(&self, outcome: Result<T, TrainError>) -> Result<T, TrainError> {
        let all = self.ranks.all_succeeded(outcome.is_ok());
        match outcome {
            Ok(_) if !all.map_err(TrainError::during("asking the other ranks"))? => {
                Err(TrainError::OtherRank { update: self.update + 1 })
            }
            outcome => outcome,
        }
    }

    /// The error that a number is not finite, in the update under way.
    pub(super) fn not_finite(&self, quantity: &str, found: f64, samples: &[String]) -> TrainError {
        let (update, quantity) = (self.update + 1, quantity.to_owned());
        TrainError::NotFinite { update, quantity, found, samples: samples.join(", ") }
    }
}
