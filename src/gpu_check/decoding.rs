//! Sampling completions: how long a step takes, and whether a completion depends on those beside it.
//! Not here: learning from them (`scoring`).

use std::borrow::Cow;

use candle_core::{Device, Result};

use super::median_seconds;
use super::random_model::{StreamShape, prompt};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::processor::Prompt;
use crate::rng::{Purpose, Stream};
use crate::rollout::engine::{Completion, GenerationSettings, Request, generate};
use crate::rollout::sampler::{Sampler, Suppressed};
use crate::train::plan::traffic::{DecodingStep, decoding_step};

/// Tokens of the completions that are compared.
const COMPARED: usize = 32;

/// A model whose completions are sampled as training samples them, to their full length.
pub struct Decoding<'a> {
    model: &'a Model,
    config: &'a ModelConfig,
    shape: StreamShape,
    prompt: Prompt,
}

impl<'a> Decoding<'a> {
    /// - `shape`: as many completions of as many prompts, all decoded at a time
    pub fn new(model: &'a Model, config: &'a ModelConfig, shape: StreamShape) -> Self {
        Self { model, config, shape, prompt: prompt(config, shape) }
    }

    /// Prompts and completions together, and a step by the difference to completions of half the length.
    ///
    /// # Errors
    /// The device's own.
    pub fn speed(&self, device: &Device, repetitions: usize) -> Result<Vec<(&'static str, f64)>> {
        let rows = self.shape.prompts * self.shape.group_size;
        let seconds =
            |tokens| median_seconds(device, repetitions, || self.sample(tokens, rows).map(|_| ()));
        let whole = self.shape.completion_tokens;
        let (half, all) = (seconds(whole.div_ceil(2))?, seconds(whole)?);
        let mut figures = vec![("seconds", all)];
        let steps = (whole / 2) as f64;
        if steps > 0.0 {
            let step = (all - half) / steps;
            figures.push(("a step, ms", step * 1e3));
            figures.push(("traffic, TB/s", self.bytes_of_step() / step / 1e12));
        }
        Ok(figures)
    }

    /// How many tokens, or their log-probabilities, are others where fewer completions decode at a time.
    ///
    /// # Errors
    /// The device's own.
    pub fn repeated(&self) -> Result<Vec<(&'static str, f64)>> {
        let (tokens, rows) = (
            self.shape.completion_tokens.min(COMPARED),
            self.shape.prompts * self.shape.group_size,
        );
        let (together, apart) =
            (self.sample(tokens, rows)?, self.sample(tokens, rows.div_ceil(3))?);
        let bits = |completions: &[Completion]| -> Vec<(u32, u32)> {
            let of = |c: &Completion| {
                let logps = c.logps.iter().map(|logp| logp.to_bits());
                c.token_ids.iter().copied().zip(logps).collect::<Vec<_>>()
            };
            completions.iter().flat_map(of).collect()
        };
        let (together, apart) = (bits(&together), bits(&apart));
        let differing = together.iter().zip(&apart).filter(|(a, b)| a != b).count()
            + together.len().abs_diff(apart.len());
        Ok(vec![("tokens", together.len() as f64), ("tokens that differ", differing as f64)])
    }

    fn sample(&self, tokens: usize, rows: usize) -> Result<Vec<Completion>> {
        let settings = GenerationSettings {
            sampler: Sampler::default(),
            suppressed: Suppressed::new(&[], &[], 0),
            max_new_tokens: tokens,
            stop_ids: Vec::new(),
            max_batch: rows,
        };
        let request = |i: usize| {
            let stream = |c: usize| Stream::new(0, Purpose::Rollout, 0, i as u32, c as u32);
            let streams = (0..self.shape.group_size).map(stream).collect();
            Request { prompt: Cow::Borrowed(&self.prompt), streams }
        };
        let requests = (0..self.shape.prompts).map(request).collect();
        Ok(generate(self.model, requests, &settings, &mut |_| {})?.into_iter().flatten().collect())
    }

    /// Bytes that a step moves, in the steps that are measured.
    fn bytes_of_step(&self) -> f64 {
        let shape = self.shape;
        let step = DecodingStep {
            rows: (shape.prompts * shape.group_size) as f64,
            prompts: shape.prompts as f64,
            prompt_tokens: self.prompt.input_ids.len(),
            own_tokens: 0.75 * shape.completion_tokens as f64, // the mean of the second half
        };
        decoding_step(self.config, self.model.dtype().size_in_bytes(), step)
    }
}
