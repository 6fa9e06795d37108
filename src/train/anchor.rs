//! The fourth stage of an update: log-probabilities that stay fixed while a batch's updates change the policy.
//! Not here: how they are computed (`accumulate`), what they are for (`grpo`).

use std::time::Instant;

use candle_core::Tensor;

use super::OnStage;
use super::accumulate::{Anchors, ScoringSettings, TrainedGroup, token_logps};
use super::error::TrainError;
use super::reference::Reference;
use super::stage::Stage;
use crate::model::Model;

/// [`Anchors`] of every mini-batch of a batch.
#[derive(Debug, Default)]
pub(super) struct BatchAnchors {
    reference: Option<Vec<Vec<Tensor>>>,
    old: Option<Vec<Vec<Tensor>>>,
    /// Time spent on the reference, s.
    pub(super) s_reference: f64,
}

impl BatchAnchors {
    /// - `policy`: without gradients
    /// - `old`: the policy that sampled; none where the batch serves one update, whose ratios are one
    ///
    /// # Errors
    /// The models' own, or the reference's files cannot be read.
    pub(super) fn compute(
        mini_batches: &[Vec<TrainedGroup>],
        (reference, policy, old): (&mut Reference, &Model, Option<&Model>),
        settings: ScoringSettings,
        on_stage: &mut OnStage,
    ) -> Result<Self, TrainError> {
        let score = |model: &Model| -> Result<Vec<Vec<Tensor>>, TrainError> {
            let scored = mini_batches.iter().map(|groups| token_logps(model, groups, settings));
            scored
                .collect::<candle_core::Result<_>>()
                .map_err(TrainError::during("computing log-probabilities"))
        };
        if !matches!(reference, Reference::None) {
            on_stage(Stage::Reference, 0);
        }
        let started = Instant::now();
        let reference = reference.scored(policy, score)?;
        let s_reference = started.elapsed().as_secs_f64();
        if old.is_some() {
            on_stage(Stage::OldPolicy, 0);
        }
        Ok(Self { reference, old: old.map(score).transpose()?, s_reference })
    }

    /// Those of one mini-batch.
    pub(super) fn of(&self, mini_batch: usize) -> Anchors<'_> {
        Anchors {
            old: self.old.as_ref().map(|all| all[mini_batch].as_slice()),
            reference: self.reference.as_ref().map(|all| all[mini_batch].as_slice()),
        }
    }
}
