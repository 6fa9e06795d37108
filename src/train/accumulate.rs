//! The fifth stage of an update: Eq. (4) over a mini-batch, its gradients into the parameters' buffers.
//! Not here: the equations (`grpo`), cutting into micro-batches (`micro_batch`), the step (`step`).

use std::borrow::Cow;

use candle_core::{DType, Result, Tensor, Var, bail};

use super::micro_batch::{GroupSlice, micro_batches};
use super::ranks::Ranks;
use crate::grpo::objective::{
    KlTerm, Objective, ObjectiveSettings, ScoredTokens, UpdateTotals, objective, token_weights,
};
use crate::model::Model;
use crate::model::lora::UpdateDropout;
use crate::model::packed::{Packed, PackedGroup};
use crate::model::stages::Checkpointing;
use crate::processor::Prompt;

/// A completion as the policy learns from it.
#[derive(Debug, Clone)]
pub struct TrainedCompletion<'a> {
    /// Its tokens.
    pub token_ids: &'a [u32],
    /// Log-probability of each token when it was drawn, nats; empty where it was not sampled.
    pub sampled_logps: &'a [f32],
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoringSettings {
    /// Logits are divided by it, as when the completions were sampled.
    pub temperature: f64,
    /// Packed tokens of one forward pass, at most.
    pub tokens_per_micro_batch: usize,
    /// What the backward pass computes again.
    pub checkpointing: Checkpointing,
}

/// Log-probabilities of every token of every completion: `[micro-batch]`, each `[N]`.
///
/// # Errors
/// The model's own.
pub fn token_logps(
    model: &Model,
    groups: &[TrainedGroup],
    settings: ScoringSettings,
) -> Result<Vec<Tensor>> {
    batches_of(groups, settings.tokens_per_micro_batch)
        .iter()
        .map(|slices| {
            Ok(model
                .token_logps(&Packed::new(&groups_of(groups, slices))?, settings.temperature)?
                .logp)
        })
        .collect()
}

/// What decides the loss of one update.
#[derive(Debug, Clone, Copy)]
pub struct LossSettings {
    /// How log-probabilities are computed.
    pub scoring: ScoringSettings,
    /// What of Eq. (4) holds for the whole run.
    pub objective: ObjectiveSettings,
    /// The KL weight of this update, Eq. (3).
    pub beta: f64,
    /// What low-rank factors are not given in this update.
    pub dropout: Option<UpdateDropout>,
}

/// Log-probabilities of a mini-batch that stay fixed while the policy is trained, a tensor per micro-batch as
/// [`token_logps`] returns them.
#[derive(Debug, Clone, Copy)]
pub struct Anchors<'a> {
    /// Under the policy that sampled; `None` where that is the policy being trained, so that every
    /// ratio is one.
    pub old: Option<&'a [Tensor]>,
    /// Under the reference; `None` where the KL weight is zero throughout.
    pub reference: Option<&'a [Tensor]>,
}

/// Sums over the tokens of an update.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ObjectiveSums {
    /// Eq. (4).
    pub loss: f64,
    /// Mean over completions of their mean k3; zero without a KL term.
    pub kl: f64,
    /// Tokens whose ratio the clip held back.
    pub n_clipped: f64,
    /// Tokens of non-zero weight.
    pub n_tokens: f64,
    /// Entropy over all scored tokens, nats.
    pub entropy: f64,
    /// Scored tokens, masked ones too.
    pub n_scored: f64,
    /// Tokens of the packed streams, prompts included.
    pub n_packed: f64,
    /// Between the sampler's log-probabilities and the old policy's.
    pub mismatch: Mismatch,
}

/// How far the log-probabilities that tokens were drawn with are from those that training computes for them, nats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mismatch {
    /// The largest absolute difference.
    pub max: f64,
    /// Sum of the absolute differences.
    pub sum: f64,
    /// Tokens that were compared.
    pub n_tokens: f64,
}

/// A loss that is not finite, and the groups that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFiniteLoss {
    /// The loss summed up to and including that micro-batch.
    pub loss: f64,
    /// Indices of the groups of the micro-batch.
    pub groups: Vec<usize>,
}

/// Counts an update before its first backward pass, over all ranks.
///
/// # Errors
/// A rank cannot be reached.
pub fn count(groups: &[TrainedGroup], ranks: &dyn Ranks) -> Result<UpdateTotals> {
    let completions = || groups.iter().flat_map(|group| &group.completions);
    let n_tokens: usize = completions().map(|c| c.token_ids.len()).sum();
    let mut counts = [completions().count() as f64, n_tokens as f64];
    ranks.sum(&mut counts)?;
    #[expect(clippy::cast_sign_loss, reason = "sums of counts")]
    let [n_completions, n_tokens] = counts.map(|count| count as usize);
    Ok(UpdateTotals { n_completions, n_tokens })
}

/// Computes Eq. (4) over `groups` and adds its gradients to the parameters' buffers.
///
/// - `totals`: of the whole update, see [`count`]
///
/// The inner error is a loss that is not finite; the buffers are then of no use.
///
/// # Errors
/// The model's own, or anchors that do not fit the groups.
pub fn accumulate(
    model: &Model,
    groups: &[TrainedGroup],
    anchors: Anchors,
    totals: UpdateTotals,
    settings: &LossSettings,
) -> Result<std::result::Result<ObjectiveSums, NonFiniteLoss>> {
    let LossSettings { scoring, objective: objective_settings, beta, dropout } = *settings;
    let batches = batches_of(groups, scoring.tokens_per_micro_batch);
    anchors.check(batches.len())?;
    let mut figures = Vec::with_capacity(batches.len());
    for (i, slices) in batches.iter().enumerate() {
        let packed = Packed::new(&groups_of(groups, slices))?;
        let model = in_pass(model, dropout, i)?;
        let (scored, back) =
            model.token_logps_taped(&packed, scoring.temperature, scoring.checkpointing)?;
        let logp = Var::from_tensor(&scored.logp)?;
        let old = anchors.old.map_or(&scored.logp, |old| &old[i]);
        let tokens = Tokens::of(groups, slices);
        let normalizer = objective_settings.normalizer;
        let weights = token_weights(normalizer, &tokens.lengths, &tokens.masked, totals)?;
        let on_device =
            |values: Vec<f32>| Tensor::new(values, logp.device())?.to_dtype(logp.dtype());
        let terms = ScoredTokens {
            logp_theta: logp.as_tensor(),
            logp_old: old,
            advantages: &on_device(tokens.advantages)?,
            weights: &on_device(weights)?,
            lengths: &tokens.lengths,
        };
        let kl = match anchors.reference {
            Some(reference) => KlTerm::Weighted { beta, logp_ref: &reference[i] },
            None => KlTerm::Absent,
        };
        let out = objective(&terms, &objective_settings, &kl)?;
        figures.push(Figures {
            values: Figures::of(&out, &scored.entropy, old)?,
            sampled_logps: tokens.sampled_logps,
            n_packed: packed.len(),
        });
        let mut store = out.loss.backward()?;
        if let Some(gradient) = store.remove(logp.as_tensor()) {
            back.run(&gradient)?;
        }
    }
    let mut sums = ObjectiveSums::default();
    for (slices, figures) in batches.iter().zip(Figures::read(figures)?) {
        sums.add(&figures)?;
        if !sums.loss.is_finite() {
            let groups = slices.iter().map(|slice| slice.group).collect();
            return Ok(Err(NonFiniteLoss { loss: sums.loss, groups }));
        }
    }
    Ok(Ok(sums))
}

/// The model as it learns in one pass of an update.
#[expect(clippy::cast_possible_truncation, reason = "a pass has at least a token")]
pub(super) fn in_pass(
    model: &Model,
    dropout: Option<UpdateDropout>,
    pass: usize,
) -> Result<Cow<'_, Model>> {
    Ok(match dropout {
        Some(dropout) => Cow::Owned(model.with_dropout(dropout, pass as u32)?),
        None => Cow::Borrowed(model),
    })
}

impl Anchors<'_> {
    /// Checks that there is one for each micro-batch; the objective checks their lengths.
    fn check(&self, n_batches: usize) -> Result<()> {
        for (name, anchor) in [("old", self.old), ("reference", self.reference)] {
            if let Some(anchor) = anchor
                && anchor.len() != n_batches
            {
                bail!("{} {name} log-probabilities for {n_batches} micro-batches", anchor.len());
            }
        }
        Ok(())
    }
}

/// What is summed of a micro-batch.
struct Figures<V> {
    /// Loss, KL, clipped and weighted tokens, entropy, then the old policy's log-probabilities.
    values: V,
    /// Those that the tokens were drawn with; empty where they were not sampled.
    sampled_logps: Vec<f32>,
    n_packed: usize,
}

impl Figures<Tensor> {
    /// - `entropy`, `old`: `[N]`
    /// - returns `[5 + N]` f64, on the device
    fn of(out: &Objective, entropy: &Tensor, old: &Tensor) -> Result<Tensor> {
        let Objective { loss, kl, n_clipped, n_tokens } = out;
        let sums = Tensor::stack(&[loss, kl, n_clipped, n_tokens, &entropy.sum_all()?], 0)?;
        Tensor::cat(&[&sums.detach(), &old.detach()], 0)?.to_dtype(DType::F64)
    }

    /// Reads the values of all micro-batches in one transfer, because each waits for the device.
    fn read(all: Vec<Self>) -> Result<Vec<Figures<Vec<f64>>>> {
        let on_device: Vec<&Tensor> = all.iter().map(|figures| &figures.values).collect();
        if on_device.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = Tensor::cat(&on_device, 0)?.to_vec1::<f64>()?.into_iter();
        let of = |Self { values: on_device, sampled_logps, n_packed }: Self| {
            let values = values.by_ref().take(on_device.elem_count()).collect();
            Figures { values, sampled_logps, n_packed }
        };
        Ok(all.into_iter().map(of).collect())
    }
}

impl Mismatch {
    fn add(&mut self, sampled: &[f32], trained: &[f64]) -> Result<()> {
        if sampled.is_empty() {
            return Ok(());
        }
        if trained.len() != sampled.len() {
            bail!("{} sampled and {} trained log-probabilities", sampled.len(), trained.len());
        }
        for (sampled, trained) in sampled.iter().zip(trained) {
            let difference = (f64::from(*sampled) - trained).abs();
            self.max = self.max.max(difference);
            self.sum += difference;
        }
        self.n_tokens += sampled.len() as f64;
        Ok(())
    }
}

impl ObjectiveSums {
    fn add(&mut self, figures: &Figures<Vec<f64>>) -> Result<()> {
        let Figures { values, sampled_logps, n_packed } = figures;
        let [loss, kl, n_clipped, n_tokens, entropy, old @ ..] = &values[..] else {
            bail!("{} figures of a micro-batch", values.len())
        };
        self.loss += loss;
        self.kl += kl;
        self.n_clipped += n_clipped;
        self.n_tokens += n_tokens;
        self.entropy += entropy;
        self.n_scored += old.len() as f64;
        self.n_packed += *n_packed as f64;
        self.mismatch.add(sampled_logps, old)
    }

    /// The sums over all ranks.
    ///
    /// # Errors
    /// A rank cannot be reached.
    pub fn sum_over(self, ranks: &dyn Ranks) -> Result<Self> {
        let mut sums = [
            self.loss,
            self.kl,
            self.n_clipped,
            self.n_tokens,
            self.entropy,
            self.n_scored,
            self.n_packed,
        ];
        ranks.sum(&mut sums)?;
        let [loss, kl, n_clipped, n_tokens, entropy, n_scored, n_packed] = sums;
        let mismatch = self.mismatch;
        Ok(Self { loss, kl, n_clipped, n_tokens, entropy, n_scored, n_packed, mismatch })
    }
}

pub(super) fn batches_of(groups: &[TrainedGroup], budget: usize) -> Vec<Vec<GroupSlice>> {
    let lens: Vec<(usize, Vec<usize>)> = groups
        .iter()
        .map(|group| {
            let completions = group.completions.iter().map(|c| c.token_ids.len()).collect();
            (group.prompt.input_ids.len(), completions)
        })
        .collect();
    micro_batches(&lens, budget)
}

/// The groups of a micro-batch, as the packed stream lays them out.
pub(super) fn groups_of<'a>(
    groups: &[TrainedGroup<'a>],
    slices: &[GroupSlice],
) -> Vec<PackedGroup<'a>> {
    let group = |slice: &GroupSlice| {
        let group = &groups[slice.group];
        let completions = &group.completions[slice.completions.clone()];
        PackedGroup {
            prompt: group.prompt,
            completions: completions.iter().map(|c| c.token_ids).collect(),
        }
    };
    slices.iter().map(group).collect()
}

/// What is known of each completion and each token of a micro-batch before it is computed.
struct Tokens {
    /// Tokens of each completion.
    lengths: Vec<usize>,
    /// Whether each completion is left out of the loss.
    masked: Vec<bool>,
    /// `[N]`
    advantages: Vec<f32>,
    /// `[N]`, or empty where the tokens were not sampled.
    sampled_logps: Vec<f32>,
}

impl Tokens {
    fn of(groups: &[TrainedGroup], slices: &[GroupSlice]) -> Self {
        let completions = || {
            slices
                .iter()
                .flat_map(|slice| &groups[slice.group].completions[slice.completions.clone()])
        };
        let advantages =
            |c: &TrainedCompletion| std::iter::repeat_n(c.advantage as f32, c.token_ids.len());
        Self {
            lengths: completions().map(|c| c.token_ids.len()).collect(),
            masked: completions().map(|c| c.is_masked).collect(),
            advantages: completions().flat_map(advantages).collect(),
            sampled_logps: completions().flat_map(|c| c.sampled_logps).copied().collect(),
        }
    }
}
