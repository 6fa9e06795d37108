//! The fourth stage of an update: log-probabilities that stay fixed while a batch's updates change the policy.
//! Not here: how they are computed (`accumulate`), what they are for (`grpo`).

use std::time::Instant;

use candle_core::{Result, Tensor};

use super::OnStage;
use super::accumulate::{Anchors, ScoringSettings, TrainedGroup, token_logps};
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
    /// - `reference`: none where the KL weight is zero throughout
    /// - `old`: the policy that sampled; none where the batch serves one update, whose ratios are one
    ///
    /// # Errors
    /// The models' own.
    pub(super) fn compute(
        mini_batches: &[Vec<TrainedGroup>],
        (reference, old): (Option<&Model>, Option<&Model>),
        settings: ScoringSettings,
        on_stage: &mut OnStage,
    ) -> Result<Self> {
        let score = |model: &Model| -> Result<Vec<Vec<Tensor>>> {
            mini_batches.iter().map(|groups| token_logps(model, groups, settings)).collect()
        };
        let mut staged = |stage, model: Option<&Model>| {
            let Some(model) = model else { return Ok(None) };
            on_stage(stage, 0);
            score(model).map(Some)
        };
        let started = Instant::now();
        let reference = staged(Stage::Reference, reference)?;
        let s_reference = started.elapsed().as_secs_f64();
        Ok(Self { reference, old: staged(Stage::OldPolicy, old)?, s_reference })
    }

    /// Those of one mini-batch.
    pub(super) fn of(&self, mini_batch: usize) -> Anchors<'_> {
        Anchors {
            old: self.old.as_ref().map(|all| all[mini_batch].as_slice()),
            reference: self.reference.as_ref().map(|all| all[mini_batch].as_slice()),
        }
    }
}
