//! The second half of an update: log-probabilities, the objective, gradients into the buffers.
//! Not here: the equations (`grpo`), cutting into micro-batches (`micro_batch`), the step (`optimizer`).

use candle_core::{Result, Tensor, Var};

use super::micro_batch::{Part, micro_batches};
use crate::grpo::objective::{
    ClipRange, KlTerm, Objective, ScoredTokens, objective, token_weights,
};
use crate::model::packed::{Group, Packed};
use crate::model::qwen2_vl::Qwen2Vl;
use crate::processor::Prompt;

/// A completion as the policy step sees it.
#[derive(Debug, Clone)]
pub struct TrainedCompletion<'a> {
    /// Its tokens.
    pub token_ids: &'a [u32],
    /// Eq. (2).
    pub advantage: f64,
    /// Left out of the loss, though counted in its mean.
    pub is_masked: bool,
}

/// A prompt with the completions it is trained on.
#[derive(Debug, Clone)]
pub struct TrainedGroup<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// Its completions.
    pub completions: Vec<TrainedCompletion<'a>>,
}

/// How log-probabilities are computed.
#[derive(Debug, Clone, Copy)]
pub struct ScoringSettings {
    /// Logits are divided by it, as when the completions were sampled.
    pub temperature: f64,
    /// Packed tokens of one forward pass, at most.
    pub tokens_per_micro_batch: usize,
    /// Activation checkpointing in the backward pass.
    pub recompute: bool,
}

/// Log-probabilities of every token of every completion: `[micro-batch]`, each `[N]`.
///
/// # Errors
/// The model's own.
pub fn score_groups(
    model: &Qwen2Vl,
    groups: &[TrainedGroup],
    settings: ScoringSettings,
) -> Result<Vec<Tensor>> {
    batches_of(groups, settings.tokens_per_micro_batch)
        .iter()
        .map(|parts| Ok(model.score(&pack(model, groups, parts)?, settings.temperature)?.logp))
        .collect()
}

/// What Eq. (4) needs beside the log-probabilities.
#[derive(Debug, Clone, Copy)]
pub struct ObjectiveSettings {
    /// The clip range.
    pub clip_range: ClipRange,
    /// The KL weight of this update, Eq. (3).
    pub beta: f64,
    /// Bound of every log-ratio before `exp`.
    pub log_ratio_limit: f64,
}

/// Log-probabilities that do not move with the policy, micro-batch by micro-batch as [`score_groups`]
/// gives them.
#[derive(Debug, Clone, Copy)]
pub struct Anchors<'a> {
    /// Under the policy that sampled; `None` where that is the policy as it stands, so that every
    /// ratio is one.
    pub old: Option<&'a [Tensor]>,
    /// Under the reference; `None` where the KL weight is zero throughout.
    pub reference: Option<&'a [Tensor]>,
}

/// Sums over the tokens of an update; sums over ranks would add up alike.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ObjectiveSums {
    /// Eq. (4).
    pub loss: f64,
    /// Mean over completions of their mean k3.
    pub kl: f64,
    /// Tokens whose ratio the clip held back.
    pub n_clipped: f64,
    /// Tokens that count.
    pub n_tokens: f64,
    /// Entropy over all scored tokens, nats.
    pub entropy: f64,
    /// Scored tokens, masked ones too.
    pub n_scored: f64,
    /// Tokens of the packed streams, prompts included.
    pub n_packed: usize,
}

/// A loss that is not finite, and the groups that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFiniteLoss {
    /// What came out.
    pub loss: f64,
    /// Indices of the groups of the micro-batch.
    pub groups: Vec<usize>,
}

/// Computes Eq. (4) over `groups` and adds its gradients to the parameters' buffers.
///
/// The inner result tells a loss that is not finite; nothing has been added for its micro-batch.
///
/// # Errors
/// The model's own, or anchors that do not fit the groups.
pub fn accumulate_gradients(
    model: &Qwen2Vl,
    groups: &[TrainedGroup],
    anchors: Anchors,
    settings: (ScoringSettings, ObjectiveSettings),
) -> Result<std::result::Result<ObjectiveSums, NonFiniteLoss>> {
    let (scoring, objective_settings) = settings;
    let n_completions = groups.iter().map(|group| group.completions.len()).sum();
    let mut sums = ObjectiveSums::default();
    for (i, parts) in batches_of(groups, scoring.tokens_per_micro_batch).iter().enumerate() {
        let packed = pack(model, groups, parts)?;
        let (scored, back) = model.score_taped(&packed, scoring.temperature, scoring.recompute)?;
        let logp = Var::from_tensor(&scored.logp)?;
        let old = anchors.old.and_then(|old| old.get(i)).unwrap_or(&scored.logp);
        let reference = anchors.reference.and_then(|reference| reference.get(i));
        let tokens = tokens_of(groups, parts, n_completions)?;
        let [advantages, weights] =
            tokens.map(|values| Tensor::new(values, logp.device())?.to_dtype(logp.dtype()));
        let terms = ScoredTokens {
            logp_theta: logp.as_tensor(),
            logp_old: old,
            advantages: &advantages?,
            weights: &weights?,
        };
        let ObjectiveSettings { clip_range, beta, log_ratio_limit } = objective_settings;
        let kl = match reference {
            Some(logp_ref) => KlTerm::Weighted { beta, logp_ref },
            None => KlTerm::Absent,
        };
        let out = objective(&terms, clip_range, &kl, log_ratio_limit)?;
        sums.add(&out, &scored.entropy, packed.len())?;
        if !sums.loss.is_finite() {
            let groups = parts.iter().map(|part| part.group).collect();
            return Ok(Err(NonFiniteLoss { loss: sums.loss, groups }));
        }
        let mut store = out.loss.backward()?;
        if let Some(gradient) = store.remove(logp.as_tensor()) {
            back.run(&gradient)?;
        }
    }
    Ok(Ok(sums))
}

impl ObjectiveSums {
    fn add(&mut self, out: &Objective, entropy: &Tensor, n_packed: usize) -> Result<()> {
        let parts = [&out.loss, &out.kl, &out.n_clipped, &out.n_tokens].map(Tensor::detach);
        // One transfer for all, as each waits for the device.
        let entropy_sum = entropy.detach().sum_all()?;
        let all = Tensor::stack(&[&parts[0], &parts[1], &parts[2], &parts[3], &entropy_sum], 0)?;
        let all = all.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
        self.loss += all[0];
        self.kl += all[1];
        self.n_clipped += all[2];
        self.n_tokens += all[3];
        self.entropy += all[4];
        self.n_scored += entropy.elem_count() as f64;
        self.n_packed += n_packed;
        Ok(())
    }
}

pub(super) fn batches_of(groups: &[TrainedGroup], budget: usize) -> Vec<Vec<Part>> {
    let lens: Vec<(usize, Vec<usize>)> = groups
        .iter()
        .map(|group| {
            let completions = group.completions.iter().map(|c| c.token_ids.len()).collect();
            (group.prompt.input_ids.len(), completions)
        })
        .collect();
    micro_batches(&lens, budget)
}

fn pack(model: &Qwen2Vl, groups: &[TrainedGroup], parts: &[Part]) -> Result<Packed> {
    let config = model.config();
    let groups = groups_of(groups, parts);
    Packed::new(&groups, config.image_token_id, config.vision.spatial_merge_size)
}

/// The groups of a micro-batch, as the packed stream lays them out.
pub(super) fn groups_of<'a>(groups: &[TrainedGroup<'a>], parts: &[Part]) -> Vec<Group<'a>> {
    let group = |part: &Part| {
        let group = &groups[part.group];
        let completions = &group.completions[part.completions.clone()];
        Group {
            prompt: group.prompt,
            completions: completions.iter().map(|c| c.token_ids).collect(),
        }
    };
    parts.iter().map(group).collect()
}

/// Advantage and weight of every token of a micro-batch.
fn tokens_of(
    groups: &[TrainedGroup],
    parts: &[Part],
    n_completions: usize,
) -> Result<[Vec<f32>; 2]> {
    let completions: Vec<&TrainedCompletion> = parts
        .iter()
        .flat_map(|part| &groups[part.group].completions[part.completions.clone()])
        .collect();
    let lens: Vec<usize> = completions.iter().map(|c| c.token_ids.len()).collect();
    let masked: Vec<bool> = completions.iter().map(|c| c.is_masked).collect();
    let advantages = completions
        .iter()
        .flat_map(|c| std::iter::repeat_n(c.advantage as f32, c.token_ids.len()))
        .collect();
    Ok([advantages, token_weights(&lens, &masked, n_completions)?])
}
