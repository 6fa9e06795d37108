//! Which token comes next: one row of logits and one uniform number in, one token id out.
//! Not here: where the uniform number comes from (`rng`); which ids stop a completion, and the batch (`engine`).
//!
//! Order and meaning of the steps are those of transformers' `generate` (`generation/utils.py`,
//! `_get_logits_processor`; TRL passes its settings through it): repetition penalty, suppressed ids (stop ids among
//! them while `min_new_tokens` lasts), then, unless greedy, temperature, top-k, top-p, min-p. Settings come from
//! the run file alone; a checkpoint's generation config is never read here.
//!
//! Sums run in a fixed order, so a row and a number give the same token on every machine and any number of threads.

use std::collections::BTreeSet;

use super::distribution::{Distribution, exp_of_non_positive, row_max};

/// How a token is drawn from a row of logits. The run file's settings, validated there.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    /// Divides the logits; 0 means greedy: the most likely token, the first one in a tie.
    pub temperature: f64,
    /// Keeps the k most likely tokens and those tied with the k-th; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most likely tokens that together have this probability; 1 keeps all.
    pub top_p: f64,
    /// Drops tokens less likely than this fraction of the most likely one; 0 keeps all.
    pub min_p: f64,
    /// Divides the positive logits of tokens seen before and multiplies the negative ones; 1 changes nothing.
    pub repetition_penalty: f64,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The token.
    pub id: u32,
    /// Its log-probability, nats, under the whole row as the model gave it: at the temperature (1 when greedy), but
    /// with no penalty, suppressed id or filter taken into account. The trainer computes the same quantity again.
    pub logp: f32,
}

/// A row of logits from which nothing can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A logit is NaN or infinite.
    #[error(
        "the logit of token {id} is not finite\nhint: the model's weights are damaged, or the last update diverged"
    )]
    NotFinite {
        /// The first such token.
        id: usize,
    },
    /// No token is left.
    #[error(
        "found all {n_tokens} tokens suppressed, expected one that may be sampled\nhint: check the suppressed ids"
    )]
    NothingLeft {
        /// The length of the row.
        n_tokens: usize,
    },
}

/// The ids that must not be sampled at each point of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    always: Vec<u32>,
    with_stops: Vec<u32>,
    min_new_tokens: usize,
}

impl Suppressed {
    /// - `markers`: ids that are never sampled (image, video and vision markers)
    /// - `stop_ids`: ids that end a completion, suppressed until it has `min_new_tokens` tokens
    pub fn new(markers: &[u32], stop_ids: &[u32], min_new_tokens: usize) -> Self {
        let with_stops = [markers, stop_ids].concat();
        Self { always: markers.to_vec(), with_stops, min_new_tokens }
    }

    /// Ids that are suppressed throughout.
    #[cfg(feature = "cuda")]
    pub(super) fn always(&self) -> &[u32] {
        &self.always
    }

    /// Ids that are suppressed in a completion of fewer than [`Self::min_new_tokens`] tokens.
    #[cfg(feature = "cuda")]
    pub(super) fn with_stops(&self) -> &[u32] {
        &self.with_stops
    }

    /// See [`Self::with_stops`].
    #[cfg(feature = "cuda")]
    pub(super) fn min_new_tokens(&self) -> usize {
        self.min_new_tokens
    }

    /// The ids suppressed in a completion that has `n_new_tokens` tokens so far.
    pub fn after(&self, n_new_tokens: usize) -> &[u32] {
        if n_new_tokens < self.min_new_tokens { &self.with_stops } else { &self.always }
    }
}

impl Default for Sampler {
    /// What GRPO trains with: temperature 1 and the whole distribution, which makes `logp` that of the draw.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

impl Sampler {
    /// The most likely token each time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether the most likely token is taken each time, the uniform number ignored.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }

    /// Whether tokens seen before change what is drawn.
    #[expect(clippy::float_cmp, reason = "exactly 1 is off, anything else is on")]
    pub fn looks_back(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// Draws one token: the first id at which the cumulative probability exceeds `uniform`.
    ///
    /// - `logits`: `[vocab]`, finite; changed, and not to be used afterwards
    /// - `seen`: ids of prompt and completion so far, for the repetition penalty; repeats count once
    /// - `suppressed`: ids that must not be drawn
    /// - `uniform`: in `[0, 1)`
    ///
    /// Ids beyond the row are ignored.
    ///
    /// # Errors
    /// A logit is not finite, or no token is left to draw.
    pub fn sample(
        &self,
        logits: &mut [f32],
        seen: &[u32],
        suppressed: &[u32],
        uniform: f64,
    ) -> Result<Sampled, SampleError> {
        let temperature = if self.is_greedy() { 1.0 } else { as_f32(self.temperature) };
        let whole = Distribution::measure(logits, temperature)?;
        let penalized = self.penalize(logits, seen);
        for &id in suppressed {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let log_normalizer = whole.total.ln();
        let whole_max = whole.max;
        let idx = if self.is_greedy() {
            argmax(logits)?
        } else if self.is_filtering() {
            let scores = self.filter(logits, temperature);
            Distribution::measure_rest(&scores, 1.0)?.pick(&scores, 1.0, uniform)
        } else {
            let changed = penalized.iter().map(|&(idx, _)| idx);
            let changed = changed.chain(suppressed.iter().map(|&id| id as usize));
            whole.refresh(logits, temperature, changed)?.pick(logits, temperature, uniform)
        };
        // The logit as the model gave it, which the penalty may have changed.
        let given =
            penalized.iter().find(|(changed, _)| *changed == idx).map_or(logits[idx], |x| x.1);
        let scaled = (f64::from(given) - f64::from(whole_max)) / f64::from(temperature);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a vocabulary has far fewer than 2^32 ids"
        )]
        Ok(Sampled { id: idx as u32, logp: as_f32(scaled - log_normalizer) })
    }

    /// Whether tokens are left out by top-k, top-p or min-p.
    fn is_filtering(&self) -> bool {
        self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0
    }

    /// Applies the repetition penalty; returns the indices it changed with their previous logits.
    fn penalize(&self, logits: &mut [f32], seen: &[u32]) -> Vec<(usize, f32)> {
        let penalty = as_f32(self.repetition_penalty);
        #[expect(clippy::float_cmp, reason = "1 exactly is how the run file turns the penalty off")]
        if penalty == 1.0 {
            return Vec::new();
        }
        let seen: BTreeSet<usize> = seen.iter().map(|&id| id as usize).collect();
        let given: Vec<(usize, f32)> =
            seen.into_iter().filter_map(|idx| Some((idx, *logits.get(idx)?))).collect();
        for &(idx, logit) in &given {
            logits[idx] = if logit < 0.0 { logit * penalty } else { logit / penalty };
        }
        given
    }

    /// The scores `logits / temperature`, with minus infinity for tokens that top-k, top-p and min-p drop, in this order.
    fn filter(&self, logits: &[f32], temperature: f32) -> Vec<f32> {
        // Adding 0 makes zeros of both signs the same, which they are in a comparison and not in a total order.
        let mut scores: Vec<f32> = logits.iter().map(|logit| logit / temperature + 0.0).collect();
        if self.top_k > 0 {
            keep_top_k(&mut scores, self.top_k);
        }
        if self.top_p < 1.0 {
            keep_top_p(&mut scores, self.top_p);
        }
        if self.min_p > 0.0 {
            keep_min_p(&mut scores, as_f32(self.min_p));
        }
        scores
    }
}

fn keep_top_k(scores: &mut [f32], k: usize) {
    if k >= scores.len() {
        return;
    }
    let mut ranked = scores.to_vec();
    let (_, &mut kth, _) = ranked.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    drop_where(scores, |score| score < kth);
}

/// Drops tokens from the least likely upwards while their sum stays within `1 - top_p`; of equally likely tokens
/// the first is dropped first, as after transformers' ascending sort. The most likely one always stays.
///
/// Weights are whole numbers, so that they have one sum in any order of summation: a GPU's histograms give it too.
fn keep_top_p(scores: &mut [f32], top_p: f64) {
    let max = row_max(scores).max;
    let weight = |score: f32| whole_weight(exp_of_non_positive(score - max));
    let total: u64 = scores.iter().map(|&score| weight(score)).sum();
    let droppable = whole((1.0 - top_p) * total as f64);
    // Tokens lighter than `certain` are always dropped: they and all that are less likely are below `droppable` together,
    // the exponential's rounding included. Only the rest needs sorting, a few hundred tokens of a vocabulary.
    let certain = droppable / (2 * scores.len() as u64);
    let mut sum = 0;
    let mut rest = Vec::new();
    for (idx, score) in scores.iter_mut().enumerate() {
        let weight = weight(*score);
        if weight < certain || *score == f32::NEG_INFINITY {
            sum += weight;
            *score = f32::NEG_INFINITY;
        } else {
            rest.push((*score, idx, weight));
        }
    }
    rest.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    rest.pop();
    for (_, idx, weight) in rest {
        sum += weight;
        if sum > droppable {
            return;
        }
        scores[idx] = f32::NEG_INFINITY;
    }
}

/// A weight, 0 to 1, as a multiple of 2^-42: what is cut off changes a sum of 150,000 by less than the exponential's error, and
/// 64 bits hold the sum of four million.
fn whole_weight(weight: f32) -> u64 {
    const ONE: f32 = (1u64 << 42) as f32;
    whole(f64::from(weight * ONE))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "neither negative nor above 2^64"
)]
fn whole(x: f64) -> u64 {
    x as u64
}

/// - `min_p`: 0 to 1; the most likely token always stays
fn keep_min_p(scores: &mut [f32], min_p: f32) {
    let max = row_max(scores).max;
    drop_where(scores, |score| exp_of_non_positive(score - max) < min_p);
}

fn drop_where(scores: &mut [f32], is_dropped: impl Fn(f32) -> bool) {
    for score in scores {
        if is_dropped(*score) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// The first of the largest logits, as torch's `argmax`.
fn argmax(logits: &[f32]) -> Result<usize, SampleError> {
    let max = row_max(logits).max;
    #[expect(clippy::float_cmp, reason = "the largest is one of them")]
    let first = logits.iter().position(|&logit| logit == max && max > f32::NEG_INFINITY);
    first.ok_or(SampleError::NothingLeft { n_tokens: logits.len() })
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the precision of the logits")]
fn as_f32(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test numbers are small"
)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    /// Uniform numbers for tests: the golden ratio's multiples modulo 1 cover [0, 1) evenly.
    fn uniforms(n: usize) -> impl Iterator<Item = f64> {
        (0..n).map(|i| (i as f64 * 0.618_033_988_749_894_9).fract())
    }

    /// Independent pseudo-random numbers in [0, 1), `SplitMix64` of a fixed seed.
    fn random(seed: u64, n: usize) -> impl Iterator<Item = f64> {
        (0..n as u64).map(move |i| {
            let mut z = (seed + i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        })
    }

    fn draw(sampler: &Sampler, logits: &[f32], uniform: f64) -> Sampled {
        sampler.sample(&mut logits.to_vec(), &[], &[], uniform).unwrap()
    }

    fn golden_cases() -> Vec<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sampler.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        golden["cases"].as_array().unwrap().clone()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn ids(value: &Value) -> Vec<u32> {
        numbers(value).into_iter().map(|x| x as u32).collect()
    }

    fn golden_sampler(case: &Value) -> Sampler {
        let number = |name: &str| case[name].as_f64().unwrap();
        Sampler {
            temperature: number("temperature"),
            top_k: number("top_k") as usize,
            top_p: number("top_p"),
            min_p: number("min_p"),
            repetition_penalty: number("repetition_penalty"),
        }
    }

    #[test]
    fn tokens_and_their_probabilities_equal_transformers() {
        const DRAWS: usize = 3000;
        for (case_idx, case) in golden_cases().iter().enumerate() {
            let sampler = golden_sampler(case);
            let min_new_tokens = case["min_new_tokens"].as_u64().unwrap() as usize;
            let suppressed =
                Suppressed::new(&ids(&case["suppressed"]), &ids(&case["stop_ids"]), min_new_tokens);
            let suppressed = suppressed.after(case["n_new_tokens"].as_u64().unwrap() as usize);
            let logits: Vec<f32> = numbers(&case["logits"]).into_iter().map(as_f32).collect();
            let (seen, logps) = (ids(&case["seen"]), numbers(&case["logp"]));

            let mut counts = vec![0usize; logits.len()];
            for uniform in uniforms(DRAWS) {
                let drawn =
                    sampler.sample(&mut logits.clone(), &seen, suppressed, uniform).unwrap();
                counts[drawn.id as usize] += 1;
                let expected = logps[drawn.id as usize];
                assert!((f64::from(drawn.logp) - expected).abs() < 2e-6, "case {case_idx}");
            }
            let mut expected = vec![0.0; logits.len()];
            for (id, probability) in ids(&case["kept"]).iter().zip(numbers(&case["probabilities"]))
            {
                expected[*id as usize] = probability;
            }
            // Evenly spread numbers leave each count within a few of its expectation; none for what is dropped.
            for (id, (&count, probability)) in counts.iter().zip(expected).enumerate() {
                let difference = (count as f64 - probability * DRAWS as f64).abs();
                let allowed = if probability == 0.0 { 0.0 } else { 6.0 };
                assert!(difference <= allowed, "case {case_idx} id {id}: {count} {probability}");
            }
        }
    }

    #[test]
    fn kept_tokens_equal_transformers() {
        for (case_idx, case) in golden_cases().iter().enumerate() {
            let sampler = golden_sampler(case);
            let mut logits: Vec<f32> = numbers(&case["logits"]).into_iter().map(as_f32).collect();
            sampler.penalize(&mut logits, &ids(&case["seen"]));
            let is_stop_suppressed =
                case["n_new_tokens"].as_u64().unwrap() < case["min_new_tokens"].as_u64().unwrap();
            let stops = if is_stop_suppressed { ids(&case["stop_ids"]) } else { vec![] };
            for id in ids(&case["suppressed"]).into_iter().chain(stops) {
                logits[id as usize] = f32::NEG_INFINITY;
            }
            let scores = sampler.filter(&logits, as_f32(sampler.temperature));
            let kept: Vec<u32> = (0..)
                .zip(&scores)
                .filter(|(_, score)| score.is_finite())
                .map(|(id, _)| id)
                .collect();
            assert_eq!(kept, ids(&case["kept"]), "case {case_idx}: {sampler:?}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let drawn = draw(&Sampler::greedy(), &[0.0, 2.0, 2.0, 1.0], 0.99);
        assert_eq!(drawn.id, 1);
        // log(e^2 / (1 + 2 e^2 + e))
        let expected = 2.0 - (1.0 + 2.0 * 2f64.exp() + 1f64.exp()).ln();
        assert!((f64::from(drawn.logp) - expected).abs() < 1e-6);
    }

    #[test]
    fn greedy_obeys_suppression_and_penalty() {
        let sampler = Sampler { repetition_penalty: 3.0, ..Sampler::greedy() };
        let drawn = sampler.sample(&mut [5.0, 4.0, 3.0, -1.0], &[1, 1, 9], &[0, 7], 0.0).unwrap();
        assert_eq!(drawn.id, 2); // 0 is suppressed, 1 falls to 4/3
    }

    #[test]
    fn log_probability_is_that_of_the_row_as_given() {
        // Everything but id 2 is suppressed or penalised; its log-probability still counts all four.
        let logits = [1.0f32, 0.5, 2.0, 0.0];
        let sampler =
            Sampler { temperature: 0.5, top_k: 1, repetition_penalty: 1.2, ..Sampler::default() };
        let drawn = sampler.sample(&mut logits.clone(), &[2], &[0], 0.3).unwrap();
        assert_eq!(drawn.id, 2);
        let normalizer: f64 = logits.iter().map(|&x| f64::from(x / 0.5).exp()).sum();
        assert!((f64::from(drawn.logp) - (4.0 - normalizer.ln())).abs() < 1e-6);
        let sampler = Sampler { temperature: 0.5, ..Sampler::default() };
        let drawn = sampler.sample(&mut logits.clone(), &[], &[], 0.0).unwrap();
        assert_eq!(drawn.id, 0);
        assert!((f64::from(drawn.logp) - (2.0 - normalizer.ln())).abs() < 1e-6);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let probabilities = [0.4f64, 0.3, 0.15, 0.1, 0.05];
        let logits = probabilities.map(|p| as_f32(p.ln()));
        for seed in [1, 2, 3] {
            let n = 20_000;
            let mut counts = [0.0f64; 5];
            for uniform in random(seed * 1_000_003, n) {
                counts[draw(&Sampler::default(), &logits, uniform).id as usize] += 1.0;
            }
            let chi_square: f64 = counts
                .iter()
                .zip(probabilities)
                .map(|(count, p)| (count - p * n as f64).powi(2) / (p * n as f64))
                .sum();
            assert!(chi_square < 18.47, "{chi_square} exceeds the 99.9% quantile of 4 degrees");
        }
    }

    #[test]
    fn ids_follow_the_uniform_number_in_order() {
        let logits = [0.0f32; 4];
        for (uniform, expected) in [(0.0, 0), (0.249, 0), (0.251, 1), (0.5, 2), (0.999_999_999, 3)]
        {
            assert_eq!(draw(&Sampler::default(), &logits, uniform).id, expected);
        }
    }

    #[test]
    fn large_row_is_drawn_from_as_a_plain_sum_would() {
        let logits: Vec<f32> = random(5, 151_936).map(|x| as_f32(x * 20.0 - 10.0)).collect();
        let weights: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
        let total: f64 = weights.iter().sum();
        for uniform in random(6, 50) {
            let drawn = draw(&Sampler::default(), &logits, uniform);
            let below: f64 = weights[..drawn.id as usize].iter().sum::<f64>() / total;
            let above = below + weights[drawn.id as usize] / total;
            assert!((below - 1e-6..above + 1e-6).contains(&uniform), "{below} {uniform} {above}");
            let expected = f64::from(logits[drawn.id as usize]) - total.ln();
            assert!((f64::from(drawn.logp) - expected).abs() < 2e-6);
        }
    }

    #[test]
    fn suppressed_ids_are_never_drawn_even_if_they_dwarf_the_rest() {
        let logits = [300.0f32, 0.0, 1.0, 300.0];
        for uniform in [0.0, 0.3, 0.7, 1.0 - 1e-16] {
            let mut row = logits;
            let drawn = Sampler::default().sample(&mut row, &[], &[0, 3], uniform).unwrap();
            assert!(drawn.id == 1 || drawn.id == 2);
            assert!(drawn.logp.is_finite());
        }
    }

    #[test]
    fn defaults_neither_filter_nor_look_back() {
        let plain = Sampler::default();
        assert!(!plain.is_filtering() && !plain.looks_back());
        assert!(Sampler { top_k: 1, ..plain.clone() }.is_filtering());
        assert!(Sampler { top_p: 0.99, ..plain.clone() }.is_filtering());
        assert!(Sampler { min_p: 0.01, ..plain.clone() }.is_filtering());
        assert!(Sampler { repetition_penalty: 1.1, ..plain }.looks_back());
    }

    #[test]
    fn top_p_holds_for_logits_whose_exponentials_overflow() {
        let sampler = Sampler { top_p: 0.8, ..Sampler::default() };
        let kept = sampler.filter(&[1000.0, 1001.0, 1002.0], 1.0); // 0.09, 0.24, 0.67
        assert_eq!(kept, [f32::NEG_INFINITY, 1001.0, 1002.0]);
    }

    /// Of four equally likely tokens two sum to exactly `1 - top_p`; transformers drops what is within it.
    #[test]
    fn top_p_drops_what_sums_to_exactly_the_rest() {
        let sampler = Sampler { top_p: 0.5, ..Sampler::default() };
        let kept = sampler.filter(&[0.0; 4], 1.0);
        assert_eq!(kept, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0]);
    }

    #[test]
    fn min_p_of_one_keeps_the_most_likely_alone() {
        let sampler = Sampler { min_p: 1.0, ..Sampler::default() };
        assert_eq!(sampler.filter(&[1.0, 0.5], 1.0), [1.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn top_p_keeps_one_token_at_least() {
        for logits in [[0.0f32; 4], [0.0, 5.0, 1.0, 2.0]] {
            let sampler = Sampler { top_p: 0.0, ..Sampler::default() };
            let kept = sampler.filter(&logits, 1.0);
            assert_eq!(kept.iter().filter(|score| score.is_finite()).count(), 1, "{kept:?}");
        }
    }

    #[test]
    fn stop_ids_are_suppressed_until_the_minimum_is_reached() {
        let suppressed = Suppressed::new(&[7], &[1, 2], 3);
        assert_eq!(suppressed.after(0), [7, 1, 2]);
        assert_eq!(suppressed.after(2), [7, 1, 2]);
        assert_eq!(suppressed.after(3), [7]);
    }

    #[test]
    fn rows_that_cannot_be_drawn_from_are_refused() {
        let sample = |row: &mut [f32], suppressed: &[u32]| {
            Sampler::default().sample(row, &[], suppressed, 0.5).unwrap_err()
        };
        assert_eq!(sample(&mut [0.0, f32::NAN], &[]), SampleError::NotFinite { id: 1 });
        assert_eq!(sample(&mut [f32::INFINITY, 0.0], &[]), SampleError::NotFinite { id: 0 });
        assert_eq!(sample(&mut [0.0, 1.0], &[0, 1]), SampleError::NothingLeft { n_tokens: 2 });
        assert_eq!(sample(&mut [], &[]), SampleError::NothingLeft { n_tokens: 0 });
        let mut row = [0.0; 2];
        assert!(Sampler::greedy().sample(&mut row, &[], &[0, 1], 0.5).is_err());
    }
}
