//! The model that the KL term compares the policy with.
//! Not here: the term itself (`grpo::kl`), its weight over the run (`grpo::kl_schedule`).

use super::error::TrainError;
use super::setup::Setup;
use crate::grpo::kl_schedule::KlSchedule;
use crate::model::Model;
use crate::model::open::open;
use crate::model::parameters::Trained;

/// A run's reference, with the weights that it owns.
pub enum Reference {
    /// The KL weight is zero throughout: nothing is compared.
    None,
    /// A copy of the model that the run began from, which never moves.
    Copy(Box<Model>),
    /// The policy's own weights without its low-rank factors: these alone move.
    WithoutFactors(Box<Model>),
}

impl Reference {
    /// The reference of a run, whatever checkpoint the policy is resumed from.
    ///
    /// # Errors
    /// The model that the run began from cannot be loaded.
    pub(super) fn open(
        kl_schedule: &KlSchedule,
        (setup, policy): (&Setup, &Model),
    ) -> Result<Self, TrainError> {
        if !kl_schedule.needs_reference() {
            return Ok(Self::None);
        }
        if policy.has_factors() {
            let failed = TrainError::during("preparing the reference");
            return Ok(Self::WithoutFactors(Box::new(policy.without_factors().map_err(failed)?)));
        }
        let copy = open(&setup.files, setup.dtype, &setup.device, Trained::Nothing)?;
        Ok(Self::Copy(Box::new(copy)))
    }

    /// What gives the reference's log-probabilities.
    pub fn model(&self) -> Option<&Model> {
        match self {
            Self::None => None,
            Self::Copy(model) | Self::WithoutFactors(model) => Some(model),
        }
    }
}
