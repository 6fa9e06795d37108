//! Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens, into the buffers.
//! Not here: which completion a sample teaches (`data`), the step (`optimizer`).
//!
//! The loss is on the completion alone, its stop token included; R1-V's also trains on the question.

use candle_core::{DType, Result, Tensor};

use super::policy_step::{ScoringSettings, TrainedGroup, batches_of, pack};
use crate::model::qwen2_vl::Qwen2Vl;

/// Sums over the tokens of an update.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SupervisedSums {
    /// Mean over all taught tokens of `-log p(token)`, nats.
    pub loss: f64,
    /// Entropy over all taught tokens, nats.
    pub entropy: f64,
    /// Taught tokens.
    pub n_tokens: usize,
    /// Tokens of the packed streams, prompts included.
    pub n_packed: usize,
}

/// Adds the loss's gradients to the parameters' buffers.
///
/// # Errors
/// The model's own.
pub fn accumulate_supervised(
    model: &Qwen2Vl,
    groups: &[TrainedGroup],
    settings: ScoringSettings,
) -> Result<SupervisedSums> {
    let n_tokens: usize =
        groups.iter().flat_map(|group| &group.completions).map(|c| c.token_ids.len()).sum();
    let mut sums = SupervisedSums { n_tokens, ..SupervisedSums::default() };
    let weight = 1.0 / n_tokens as f64;
    for parts in batches_of(groups, settings.tokens_per_micro_batch) {
        let packed = pack(model, groups, &parts)?;
        let (scored, back) =
            model.score_taped(&packed, settings.temperature, settings.recompute)?;
        let total = |x: &Tensor| x.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>();
        sums.loss -= weight * total(&scored.logp)?;
        sums.entropy += total(&scored.entropy)?;
        sums.n_packed += packed.len();
        // d loss / d logp is the same for every token.
        back.run(&(scored.logp.ones_like()? * -weight)?)?;
    }
    Ok(sums)
}
