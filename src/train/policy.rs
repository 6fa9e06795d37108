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
                let (quantity, found) = norm.what_is_not_finite();
                Err(self.not_finite(&quantity, found, &samples()))
            }
        }
    }

    /// Returns the outcome if every rank succeeded, else an error on every rank.
    pub(super) fn agreed<T>(&self, outcome: Result<T, TrainError>) -> Result<T, TrainError> {
        let all = self.ranks.all_succeeded(outcome.is_ok());
        match outcome {
            Ok(_) if !all.map_err(TrainError::during("checking that all ranks succeeded"))? => {
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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result};

    use super::*;
    use crate::config::RunConfig;
    use crate::model::files::ModelFiles;
    use crate::model::open::open;
    use crate::model::parameters::Trained;
    use crate::train::settings::optimizer_settings;

    /// Two ranks, the other of which has failed.
    struct OtherFailed;

    impl Ranks for OtherFailed {
        fn sum(&self, _values: &mut [f64]) -> Result<()> {
            Ok(())
        }

        fn sum_tensors(&self, _tensors: &[Tensor]) -> Result<()> {
            Ok(())
        }

        fn broadcast(&self, _tensors: &[Tensor]) -> Result<()> {
            Ok(())
        }

        fn all_succeeded(&self, _succeeded: bool) -> Result<bool> {
            Ok(false)
        }
    }

    #[test]
    fn a_rank_stops_where_another_failed_and_reports_its_own_error_first() {
        let files = ModelFiles::Folder("tests/golden/micro/policy".into());
        let model = open(&files, DType::F32, &Device::Cpu, Trained::All).unwrap();
        let settings = optimizer_settings(&RunConfig::default(), 9);
        let optimizer = Optimizer::new(settings, model.parameters()).unwrap();
        let policy = Policy::new(model, optimizer, 3, Box::new(OtherFailed)).unwrap();
        let stopped = policy.agreed(Ok(())).unwrap_err();
        assert!(matches!(stopped, TrainError::OtherRank { update: 4 }), "{stopped}");
        let own =
            policy.agreed::<()>(Err(policy.not_finite("the loss", f64::NAN, &[]))).unwrap_err();
        assert!(matches!(own, TrainError::NotFinite { update: 4, .. }), "{own}");
    }
}
