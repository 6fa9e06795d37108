//! Eq. (4): the clipped objective with its KL penalty, on a packed stream of completion tokens.
//! Not here: advantages (`advantage`), the weight beta (`kl_schedule`), the penalty per token (`kl`).
//!
//! Departures from the references:
//! 1. R1-V's loss has no clip, its ratio being 1 by construction; ours is the paper's. TRL 1.16 with
//!    `loss_type="grpo"` and `use_bias_correction_kl=False` is the same formula, and the tests compare with it.
//! 2. The clip range has two ends (DAPO's "clip higher"); the paper's single epsilon is `low == high`.
//! 3. Log-ratios are clamped before `exp`, here and in `kl`; neither reference does that.

use candle_core::{DType, Result, Tensor, bail};

use super::kl::{check_tokens, k3};

/// Over which tokens a ratio of probabilities is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RatioLevel {
    /// Each token has its own, as in the paper.
    #[default]
    Token,
}

/// How a token is weighted in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalizer {
    /// The mean over completions of the mean over their tokens, as in the paper.
    #[default]
    CompletionMean,
}

/// What does not change over the updates of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectiveSettings {
    /// Over which tokens a ratio is taken.
    pub ratio_level: RatioLevel,
    /// How a token is weighted.
    pub normalizer: Normalizer,
    /// The clip range of the ratio.
    pub clip_range: ClipRange,
    /// Log-ratios are clamped to this size before `exp`, nats; the gradient is zero beyond it.
    pub log_ratio_limit: f64,
}

/// The range that ratios are clipped to: `[1 - low, 1 + high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipRange {
    /// How far below 1, in `[0, 1]`.
    pub low: f64,
    /// How far above 1, at least 0.
    pub high: f64,
}

/// The inputs of Eq. (4) for the N completion tokens of a micro-batch.
///
/// All tensors are `[N]`, of one dtype, f32 (f64 in gradient checks), rows in the same order: completion after completion.
#[derive(Clone, Copy, Debug)]
pub struct ScoredTokens<'a> {
    /// Log-probabilities under the policy being trained, nats; the gradient flows through these alone.
    pub logp_theta: &'a Tensor,
    /// Log-probabilities under the policy that sampled, nats. Equal to `logp_theta` in the first update of a batch of rollouts.
    pub logp_old: &'a Tensor,
    /// The advantage of the completion that the token belongs to, Eq. (2).
    pub advantages: &'a Tensor,
    /// The token's weight in the loss, see [`token_weights`]; zero leaves it out.
    pub weights: &'a Tensor,
    /// Tokens of each completion, N together: which completion a row belongs to.
    pub lengths: &'a [usize],
}

/// The KL term of Eq. (4).
#[derive(Clone, Copy, Debug)]
pub enum KlTerm<'a> {
    /// No penalty and no reference model.
    Absent,
    /// beta times the divergence from the reference.
    Weighted {
        /// The weight of this update, Eq. (3).
        beta: f64,
        /// Log-probabilities under the reference, like [`ScoredTokens::logp_theta`].
        logp_ref: &'a Tensor,
    },
}

/// The objective of a micro-batch. Every field is a scalar of the inputs' dtype on their device, and a sum:
/// its total over the micro-batches and ranks of an update is that update's value.
#[derive(Clone, Debug)]
pub struct Objective {
    /// What is minimised, Eq. (4) negated; the only field that carries a gradient.
    pub loss: Tensor,
    /// `sum(weights * k3)`: the mean over completions of their mean divergence; zero without a KL term.
    pub kl: Tensor,
    /// Number of counted tokens for which the clipped term is the smaller one.
    pub n_clipped: Tensor,
    /// Number of counted tokens: those of non-zero weight. `n_clipped / n_tokens` is the clip fraction.
    pub n_tokens: Tensor,
}

/// Eq. (4), negated for minimising: the sum over tokens of
/// `weights * (-min(rho*A, clip(rho, 1-low, 1+high)*A) + beta*k3)` with `rho = exp(logp_theta - logp_old)`.
///
/// # Errors
/// A tensor's shape or dtype differs from that of `logp_theta`, these are not `[N]` f32 or f64, or the lengths do not add
/// up to N.
pub fn objective(
    tokens: &ScoredTokens<'_>,
    settings: &ObjectiveSettings,
    kl_term: &KlTerm<'_>,
) -> Result<Objective> {
    let ScoredTokens { logp_theta, logp_old, advantages: a, weights, lengths } = *tokens;
    let ObjectiveSettings { ratio_level, clip_range, log_ratio_limit: limit, .. } = *settings;
    let others = [("logp_old", logp_old), ("advantages", a), ("weights", weights)];
    check_tokens("objective", logp_theta, &others)?;
    let (n, n_rows) = (lengths.iter().sum::<usize>(), logp_theta.dim(0)?);
    if n != n_rows {
        bail!("objective: completions of {n} tokens for {n_rows} log-probabilities");
    }

    let log_ratio = match ratio_level {
        RatioLevel::Token => (logp_theta - logp_old.detach())?,
    };
    let rho = log_ratio.clamp(-limit, limit)?.exp()?;
    let unclipped = (&rho * a)?;
    let clipped = (rho.clamp(1.0 - clip_range.low, 1.0 + clip_range.high)? * a)?;
    let surrogate = (unclipped.minimum(&clipped)? * weights)?.sum_all()?;

    let (loss, kl) = match *kl_term {
        KlTerm::Absent => (surrogate.neg()?, surrogate.zeros_like()?),
        KlTerm::Weighted { beta, logp_ref } => {
            let kl = (k3(logp_theta, logp_ref, limit)? * weights)?.sum_all()?;
            (((&kl * beta)? - surrogate)?, kl.detach())
        }
    };
    let is_counted = weights.detach().ne(0.0)?.to_dtype(DType::F32)?;
    let is_clipped = unclipped.detach().gt(&clipped.detach())?.to_dtype(DType::F32)?;
    // Counts add up in f32, exact to 2^24 tokens.
    let n_clipped = (is_clipped * &is_counted)?.sum_all()?.to_dtype(logp_theta.dtype())?;
    let n_tokens = is_counted.sum_all()?.to_dtype(logp_theta.dtype())?;
    Ok(Objective { loss, kl, n_clipped, n_tokens })
}

/// The weights that turn a sum over tokens into the normaliser's means: `1 / (n_completions * |o_i|)` for
/// [`Normalizer::CompletionMean`].
///
/// - `lengths`: `|o_i|`, tokens of each completion of the micro-batch, in the stream's order
/// - `masked`: completions left out of the loss, as those cut off by the token limit may be
/// - `totals`: of the whole update, over all micro-batches and ranks, masked completions included
/// - returns one weight per token, `sum(lengths)` in all; zero for tokens of a masked completion
///
/// A masked completion adds nothing to the numerator but still counts in the mean, so masking makes an update
/// smaller rather than raising the weight of the others. TRL 1.16 does the same: it zeroes the completion's
/// mask (`mask_truncated_completions`) and takes `((loss * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean()`
/// over all rows.
///
/// # Errors
/// `lengths` and `masked` differ in length, or the update has fewer completions than that.
pub fn token_weights(
    normalizer: Normalizer,
    lengths: &[usize],
    masked: &[bool],
    totals: UpdateTotals,
) -> Result<Vec<f32>> {
    let n_completions = totals.n_completions;
    if lengths.len() != masked.len() || n_completions < lengths.len() {
        bail!(
            "token_weights: {} lengths and {} masks for an update of {n_completions} completions, \
             expected as many of each and no more than the update has",
            lengths.len(),
            masked.len()
        );
    }
    let mut weights = Vec::with_capacity(lengths.iter().sum());
    for (&length, &is_masked) in lengths.iter().zip(masked) {
        let weight = match normalizer {
            Normalizer::CompletionMean => 1.0 / (n_completions as f64 * length as f64),
        };
        let weight = if is_masked { 0.0 } else { weight };
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32 like the loss")]
        weights.extend(std::iter::repeat_n(weight as f32, length));
    }
    Ok(weights)
}

/// What an update computes on, over all of its micro-batches and all ranks: counted before the first backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateTotals {
    /// Completions, masked ones included.
    pub n_completions: usize,
    /// Tokens that are scored.
    pub n_tokens: usize,
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "test numbers are small; zero gradients are exactly zero"
)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use serde_json::Value;
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};

    const LIMIT: f64 = 20.0;
    const PAPER: ClipRange = ClipRange { low: 0.2, high: 0.2 };

    fn settings(clip_range: ClipRange) -> ObjectiveSettings {
        ObjectiveSettings {
            ratio_level: RatioLevel::Token,
            normalizer: Normalizer::CompletionMean,
            clip_range,
            log_ratio_limit: LIMIT,
        }
    }

    fn golden_path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    fn read_json(path: &Path) -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn floats(value: &Value) -> Vec<f32> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    }

    fn ragged(value: &Value) -> Vec<Vec<f32>> {
        value.as_array().unwrap().iter().map(floats).collect()
    }

    fn scalar(tensor: &Tensor) -> f64 {
        tensor.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
    }

    fn assert_close(found: f64, expected: f64, what: &str) {
        let tolerance = 1e-6 + 1e-5 * expected.abs();
        assert!((found - expected).abs() <= tolerance, "{what}: {found} != {expected}");
    }

    /// A batch of completions, as lists; packed into tensors by [`Batch::objective`].
    struct Batch {
        logp_theta: Vec<Vec<f32>>,
        logp_old: Vec<Vec<f32>>,
        logp_ref: Vec<Vec<f32>>,
        advantages: Vec<f32>,
        masked: Vec<bool>,
    }

    impl Batch {
        fn lengths(&self) -> Vec<usize> {
            self.logp_theta.iter().map(Vec::len).collect()
        }

        /// The objective of the completions `rows` as one micro-batch of an update of `n_completions`,
        /// and its gradient through `logp_theta`.
        fn objective(
            &self,
            rows: std::ops::Range<usize>,
            n_completions: usize,
            clip: ClipRange,
            beta: Option<f64>,
        ) -> (Objective, Vec<f32>) {
            let device = &Device::Cpu;
            let pack =
                |lists: &[Vec<f32>]| Tensor::new(lists[rows.clone()].concat(), device).unwrap();
            let lengths = &self.lengths()[rows.clone()];
            let advantages: Vec<f32> = lengths
                .iter()
                .zip(&self.advantages[rows.clone()])
                .flat_map(|(&length, &advantage)| vec![advantage; length])
                .collect();
            let totals = UpdateTotals { n_completions, n_tokens: lengths.iter().sum() };
            let masked = &self.masked[rows.clone()];
            let weights =
                token_weights(Normalizer::CompletionMean, lengths, masked, totals).unwrap();
            let logp_theta = Var::from_tensor(&pack(&self.logp_theta)).unwrap();
            let logp_ref = pack(&self.logp_ref);
            let tokens = ScoredTokens {
                logp_theta: &logp_theta,
                logp_old: &pack(&self.logp_old),
                advantages: &Tensor::new(advantages, device).unwrap(),
                weights: &Tensor::new(weights, device).unwrap(),
                lengths,
            };
            let kl_term = match beta {
                Some(beta) => KlTerm::Weighted { beta, logp_ref: &logp_ref },
                None => KlTerm::Absent,
            };
            let result = objective(&tokens, &settings(clip), &kl_term).unwrap();
            let grads = result.loss.backward().unwrap();
            let grad = grads.get(&logp_theta).unwrap().to_vec1().unwrap();
            (result, grad)
        }
    }

    /// The micro checkpoint's log-probabilities, with the variant's old ones.
    fn micro_batch(golden: &Value, tensors: &HashMap<String, Tensor>, off_policy: bool) -> Batch {
        let mask = ragged(&golden["completion_mask"]);
        let unpad = |name: &str| -> Vec<Vec<f32>> {
            let padded: Vec<Vec<f32>> = tensors[golden[name].as_str().unwrap()].to_vec2().unwrap();
            let is_kept = |&(_, &mask): &(f32, &f32)| mask == 1.0;
            let row = |(row, mask): (Vec<f32>, &Vec<f32>)| {
                row.into_iter().zip(mask).filter(is_kept).map(|(logp, _)| logp).collect()
            };
            padded.into_iter().zip(&mask).map(row).collect()
        };
        Batch {
            logp_theta: unpad("policy_logps"),
            logp_old: unpad(if off_policy { "old_logps_off" } else { "policy_logps" }),
            logp_ref: unpad("ref_logps"),
            advantages: floats(&golden["advantages"]),
            masked: vec![false; mask.len()],
        }
    }

    #[test]
    fn loss_kl_and_clip_fraction_equal_torchs_on_the_micro_checkpoint() {
        let golden = &read_json(&golden_path("micro/golden.json"))["grpo"];
        let tensors =
            candle_core::safetensors::load(golden_path("micro/golden.safetensors"), &Device::Cpu)
                .unwrap();
        for (name, off_policy, beta) in [
            ("on_beta0.0", false, 0.0),
            ("on_beta0.04", false, 0.04),
            ("off_beta0.0", true, 0.0),
            ("off_beta0.04", true, 0.04),
        ] {
            let variant = &golden["variants"][name];
            let batch = micro_batch(golden, &tensors, off_policy);
            let (whole, _) = batch.objective(0..8, 8, PAPER, Some(beta));
            assert_close(scalar(&whole.loss), variant["loss"].as_f64().unwrap(), name);
            assert_close(scalar(&whole.kl), variant["mean_kl"].as_f64().unwrap(), name);
            let clip_fraction = scalar(&whole.n_clipped) / scalar(&whole.n_tokens);
            assert_close(clip_fraction, variant["clip_fraction"].as_f64().unwrap(), name);
            // Each completion as an update of its own gives its loss.
            for (row, expected) in floats(&variant["per_sequence_loss"]).into_iter().enumerate() {
                let (one, _) = batch.objective(row..row + 1, 1, PAPER, Some(beta));
                assert_close(scalar(&one.loss), f64::from(expected), &format!("{name} row {row}"));
            }
        }
    }

    #[test]
    fn loss_gradient_and_metrics_equal_trls() {
        let golden = read_json(&golden_path("objective.json"));
        for (idx, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
            let batch = Batch {
                logp_theta: ragged(&case["logp_theta"]),
                logp_old: ragged(&case["logp_old"]),
                logp_ref: ragged(&case["logp_ref"]),
                advantages: floats(&case["advantages"]),
                masked: case["masked"].as_array().unwrap().iter().map(|m| m == true).collect(),
            };
            let number = |name: &str| case[name].as_f64().unwrap();
            let clip = ClipRange { low: number("clip_low"), high: number("clip_high") };
            let beta = Some(number("beta")).filter(|&beta| beta != 0.0);
            let (result, grad) = batch.objective(0..4, 4, clip, beta);
            assert_close(scalar(&result.loss), number("loss"), &format!("case {idx} loss"));
            for (found, expected) in grad.iter().zip(ragged(&case["grad"]).concat()) {
                assert_close(f64::from(*found), f64::from(expected), &format!("case {idx} grad"));
            }
            let clip_fraction = scalar(&result.n_clipped) / scalar(&result.n_tokens);
            assert_close(clip_fraction, number("clip_fraction"), &format!("case {idx} clip"));
        }
    }

    fn small_batch() -> Batch {
        Batch {
            logp_theta: vec![vec![-1.0, -2.0, -0.5], vec![-0.1], vec![-3.0, -1.0]],
            logp_old: vec![vec![-1.1, -1.5, -0.5], vec![-0.9], vec![-2.9, -1.6]],
            logp_ref: vec![vec![-1.0, -2.5, -0.4], vec![-0.3], vec![-3.5, -0.2]],
            advantages: vec![1.0, -0.5, 0.7],
            masked: vec![false, false, true],
        }
    }

    #[test]
    fn parts_of_micro_batches_add_up_to_the_update() {
        let batch = small_batch();
        let (whole, grad) = batch.objective(0..3, 3, PAPER, Some(0.1));
        let (first, first_grad) = batch.objective(0..1, 3, PAPER, Some(0.1));
        let (rest, rest_grad) = batch.objective(1..3, 3, PAPER, Some(0.1));
        for (whole, first, rest) in [
            (&whole.loss, &first.loss, &rest.loss),
            (&whole.kl, &first.kl, &rest.kl),
            (&whole.n_clipped, &first.n_clipped, &rest.n_clipped),
            (&whole.n_tokens, &first.n_tokens, &rest.n_tokens),
        ] {
            assert_close(scalar(first) + scalar(rest), scalar(whole), "sum of parts");
        }
        assert_eq!([first_grad, rest_grad].concat(), grad);
    }

    #[test]
    fn masked_completion_has_no_gradient_and_is_not_counted() {
        let (result, grad) = small_batch().objective(0..3, 3, PAPER, Some(0.1));
        assert_eq!(grad[4..], [0.0, 0.0]);
        assert!(grad[..4].iter().all(|g| *g != 0.0));
        assert_close(scalar(&result.n_tokens), 4.0, "n_tokens");
    }

    #[test]
    fn clip_holds_back_only_what_would_still_pay() {
        // Ratios e^0.5 and e^-0.5 lie outside [0.8, 1.2] on either side.
        let batch = |advantage: f32| Batch {
            logp_theta: vec![vec![-1.0, -1.0, -1.0]],
            logp_old: vec![vec![-1.5, -0.5, -1.0]],
            logp_ref: vec![vec![-1.0; 3]],
            advantages: vec![advantage],
            masked: vec![false],
        };
        // A > 0: the raised ratio is clipped to 1.2 and has no gradient; the lowered ratio's gradient raises it.
        let (result, grad) = batch(1.0).objective(0..1, 1, PAPER, None);
        assert_close(scalar(&result.n_clipped), 1.0, "n_clipped");
        assert_close(scalar(&result.loss), -(1.2 + (-0.5f64).exp() + 1.0) / 3.0, "loss");
        assert_eq!(grad[0], 0.0);
        assert_close(f64::from(grad[1]), -(-0.5f64).exp() / 3.0, "grad");
        // A < 0: the lowered ratio is clipped to 0.8.
        let (result, grad) = batch(-1.0).objective(0..1, 1, PAPER, None);
        assert_close(scalar(&result.loss), (0.5f64.exp() + 0.8 + 1.0) / 3.0, "loss");
        assert_eq!(grad[1], 0.0);
    }

    #[test]
    fn on_policy_gradient_is_minus_the_weighted_advantage() {
        // At rho = 1 both arguments of min are equal; their gradients must neither add up nor cancel.
        let mut batch = small_batch();
        batch.logp_old = batch.logp_theta.clone();
        batch.masked = vec![false; 3];
        let (_, grad) = batch.objective(0..3, 3, PAPER, None);
        let expected = [-1.0 / 9.0, -1.0 / 9.0, -1.0 / 9.0, 0.5 / 3.0, -0.7 / 6.0, -0.7 / 6.0];
        for (found, expected) in grad.iter().zip(expected) {
            assert_close(f64::from(*found), expected, "grad");
        }
    }

    #[test]
    fn gradient_equals_finite_differences() {
        let device = &Device::Cpu;
        let batch = small_batch();
        let packed = |lists: &[Vec<f32>]| -> Vec<f64> {
            lists.concat().into_iter().map(f64::from).collect()
        };
        let logp_old = Tensor::new(packed(&batch.logp_old), device).unwrap();
        let logp_ref = Tensor::new(packed(&batch.logp_ref), device).unwrap();
        let advantages = Tensor::new(&[1.0f64, 1.0, 1.0, -0.5, 0.7, 0.7], device).unwrap();
        let weights = Tensor::new(&[0.1f64, 0.2, 0.3, 0.4, 0.5, 0.6], device).unwrap();
        let loss_at = |logp_theta: &Tensor| {
            let tokens = ScoredTokens {
                logp_theta,
                logp_old: &logp_old,
                advantages: &advantages,
                weights: &weights,
                lengths: &batch.lengths(),
            };
            let kl_term = KlTerm::Weighted { beta: 0.3, logp_ref: &logp_ref };
            objective(&tokens, &settings(PAPER), &kl_term).unwrap().loss
        };
        let theta = packed(&batch.logp_theta);
        let var = Var::new(theta.as_slice(), device).unwrap();
        let grads = loss_at(&var).backward().unwrap();
        let grad: Vec<f64> = grads.get(&var).unwrap().to_vec1().unwrap();
        for idx in 0..theta.len() {
            let moved = |by: f64| {
                let mut theta = theta.clone();
                theta[idx] += by;
                scalar(&loss_at(&Tensor::new(theta, device).unwrap()))
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((grad[idx] - difference).abs() < 1e-8, "{idx}: {} {difference}", grad[idx]);
        }
    }

    #[test]
    fn huge_log_ratio_cannot_overflow_the_loss() {
        let batch = Batch {
            logp_theta: vec![vec![-500.0, -0.1]],
            logp_old: vec![vec![-0.1, -500.0]],
            logp_ref: vec![vec![-0.1, -500.0]],
            advantages: vec![-1.0],
            masked: vec![false],
        };
        let (result, grad) = batch.objective(0..1, 1, PAPER, Some(0.04));
        assert!(scalar(&result.loss).is_finite());
        assert!(grad.iter().all(|g| g.is_finite()));
    }

    #[test]
    fn nan_log_probability_reaches_the_loss() {
        let mut batch = small_batch();
        batch.logp_theta[1][0] = f32::NAN;
        let (result, _) = batch.objective(0..3, 3, PAPER, Some(0.04));
        assert!(scalar(&result.loss).is_nan());
    }

    #[test]
    fn weights_of_completions_that_count_add_up_to_their_share() {
        let weights = |lengths: &[usize], masked: &[bool], n_completions| {
            let totals = UpdateTotals { n_completions, n_tokens: 7 };
            token_weights(Normalizer::CompletionMean, lengths, masked, totals)
        };
        let found = weights(&[2, 1, 0, 4], &[false, true, false, false], 5).unwrap();
        assert_eq!(found, [0.1, 0.1, 0.0, 0.05, 0.05, 0.05, 0.05]);
        assert!(weights(&[2, 1], &[false], 5).is_err());
        assert!(weights(&[2, 1], &[false, false], 1).is_err());
    }

    #[test]
    fn lengths_that_do_not_cover_the_tokens_are_refused() {
        let logp = Tensor::new(&[-1.0f32, -2.0, -3.0], &Device::Cpu).unwrap();
        let tokens = ScoredTokens {
            logp_theta: &logp,
            logp_old: &logp,
            advantages: &logp,
            weights: &logp,
            lengths: &[2],
        };
        let error = objective(&tokens, &settings(PAPER), &KlTerm::Absent).unwrap_err().to_string();
        assert!(error.contains("completions of 2 tokens for 3"), "{error}");
    }
}
