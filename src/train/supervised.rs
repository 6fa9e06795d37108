//! Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens, into the buffers.
//! Not here: which completion a sample teaches (`supervised_update`), the step (`step`).
//!
//! The loss is on the completion alone, its stop token included. R1-V's script also trains on the prompt's text, which
//! [`Taught::PromptAndCompletion`] does for comparison.

use candle_core::{DType, Result, Tensor};

use super::accumulate::{ScoringSettings, TrainedGroup, batches_of, groups_of, in_pass};
use super::ranks::Ranks;
use crate::model::Model;
use crate::model::lora::UpdateDropout;
use crate::model::packed::{Packed, prompt_targets};

/// Sums over the tokens of an update, over all ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SupervisedSums {
    /// Mean over all taught tokens of `-log p(token)`, nats.
    pub loss: f64,
    /// Entropy over all taught tokens, nats.
    pub entropy: f64,
    /// Taught tokens.
    pub n_tokens: f64,
    /// Tokens of the packed streams, prompts included.
    pub n_packed: f64,
}

/// Which tokens the loss is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taught {
    /// Those of the completions.
    Completion,
    /// Those of the prompts too, except image tokens and each prompt's first token.
    PromptAndCompletion,
}

/// Adds the loss's gradients to the parameters' buffers.
///
/// - `settings`: with what low-rank factors are not given in this update
///
/// # Errors
/// The model's own.
pub fn accumulate_supervised(
    model: &Model,
    groups: &[TrainedGroup],
    taught: Taught,
    (settings, dropout): (ScoringSettings, Option<UpdateDropout>),
    ranks: &dyn Ranks,
) -> Result<SupervisedSums> {
    let mut n_tokens = [n_taught(groups, taught) as f64];
    ranks.sum(&mut n_tokens)?;
    let [n_tokens] = n_tokens;
    let mut sums = SupervisedSums { n_tokens, ..SupervisedSums::default() };
    let weight = 1.0 / n_tokens;
    let mut totals = Vec::new();
    let batches = batches_of(groups, settings.tokens_per_micro_batch);
    for (i, slices) in batches.iter().enumerate() {
        let groups = groups_of(groups, slices);
        let mut packed = Packed::new(&groups)?;
        if taught == Taught::PromptAndCompletion {
            packed.score_prompts(&groups);
        }
        let model = in_pass(model, dropout, i)?;
        let (scored, back) =
            model.token_logps_taped(&packed, settings.temperature, settings.checkpointing)?;
        totals
            .push(Tensor::stack(&[scored.logp.sum_all()?, scored.entropy.sum_all()?], 0)?.detach());
        sums.n_packed += packed.len() as f64;
        // d loss / d logp is the same for every token.
        back.run(&(scored.logp.ones_like()? * -weight)?)?;
    }
    if !totals.is_empty() {
        // One transfer for all, because each waits for the device.
        for of in Tensor::stack(&totals, 0)?.to_dtype(DType::F64)?.to_vec2::<f64>()? {
            sums.loss -= weight * of[0];
            sums.entropy += of[1];
        }
    }
    sums.sum_over(ranks)
}

impl SupervisedSums {
    fn sum_over(mut self, ranks: &dyn Ranks) -> Result<Self> {
        let mut sums = [self.loss, self.entropy, self.n_packed];
        ranks.sum(&mut sums)?;
        [self.loss, self.entropy, self.n_packed] = sums;
        Ok(self)
    }
}

fn n_taught(groups: &[TrainedGroup], taught: Taught) -> usize {
    let of = |group: &TrainedGroup| {
        let completions: usize = group.completions.iter().map(|c| c.token_ids.len()).sum();
        completions
            + match taught {
                Taught::Completion => 0,
                Taught::PromptAndCompletion => prompt_targets(group.prompt).count(),
            }
    };
    groups.iter().map(of).sum()
}
