//! Continuous batching: prompts are computed once, their completions decode together, a finished one
//! leaves its place to a waiting one.
//! Not here: choosing a token (`sampler`), the model's arithmetic (`model::decoding`), scoring (`reward`).
//!
//! A completion's tokens depend on its prompt, its random stream and the settings alone, never on what
//! else is being decoded: prompts are computed one by one, and the kernels of a decoding step treat
//! every row by itself. (On the plain path, CUDA and 16 bits, this holds up to the rounding of a
//! matrix product of another height.)

use std::collections::VecDeque;

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::sampler::{Sampled, Sampler, Suppressed};
use crate::model::decoding::{DecodeRow, Prefilled};
use crate::model::qwen2_vl::Qwen2Vl;
use crate::ops::MAX_ROWS_ONE_BY_ONE;
use crate::processor::Prompt;
use crate::rng::Stream;

/// What holds for every completion of a call.
#[derive(Debug, Clone)]
pub struct GenerationSettings {
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Tokens that are not chosen.
    pub suppressed: Suppressed,
    /// Completions end after so many tokens, finished or not.
    pub max_new_tokens: usize,
    /// Tokens that end a completion; the token stays part of it.
    pub stop_ids: Vec<u32>,
    /// Completions decoded at once, at most [`MAX_ROWS_ONE_BY_ONE`].
    pub max_batch: usize,
}

/// One prompt and the completions wanted of it.
#[derive(Debug)]
pub struct Request<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The random stream of each completion; as many completions as streams.
    pub streams: Vec<Stream>,
}

/// What was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Token ids, the stop token included where there is one.
    pub token_ids: Vec<u32>,
    /// Log-probability of each token when it was drawn, nats, at the sampler's temperature.
    pub logps: Vec<f32>,
    /// Whether it ended by a stop token; otherwise it was cut at `max_new_tokens`.
    pub is_finished: bool,
}

/// A completion that is being decoded.
struct Active<'a> {
    request: usize,
    completion: usize,
    slot: usize,
    stream: Stream,
    prompt: &'a Prompt,
    row: DecodeRow,
    token_ids: Vec<u32>,
    logps: Vec<f32>,
}

/// Samples the completions of all requests: `[request][completion]`. `on_token` hears of every
/// decoding step how many tokens it made.
///
/// # Errors
/// Settings that cannot work, or the model's own.
pub fn generate(
    model: &Qwen2Vl,
    requests: &[Request],
    settings: &GenerationSettings,
    on_tokens: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Completion>>> {
    settings.check()?;
    let total: usize = requests.iter().map(|request| request.streams.len()).sum();
    let n_slots = settings.max_batch.min(total);
    let cache = model.suffix_cache(n_slots * settings.max_new_tokens)?;
    let mut free: Vec<usize> = (0..n_slots).rev().collect();
    let mut waiting = Waiting::new(requests);
    let mut active: Vec<Active> = Vec::new();
    let mut done: Vec<Vec<Option<Completion>>> =
        requests.iter().map(|request| vec![None; request.streams.len()]).collect();
    loop {
        while let Some(slot) = free.pop() {
            let Some(mut new) = waiting.admit(model, slot, settings.max_new_tokens)? else {
                free.push(slot);
                break;
            };
            let first = settings.next_token(&mut new.logits, &new.active)?;
            on_tokens(1);
            match new.active.push(first, settings) {
                None => active.push(new.active),
                Some(completion) => {
                    free.push(slot);
                    done[new.active.request][new.active.completion] = Some(completion);
                }
            }
        }
        if active.is_empty() {
            break;
        }
        let rows: Vec<DecodeRow> = active.iter().map(|a| a.row.clone()).collect();
        let logits = model.decode(&cache, &rows)?;
        let vocab = logits.dim(1)?;
        let mut logits = logits.flatten_all()?.to_vec1::<f32>()?;
        let tokens: Vec<Sampled> = active
            .par_iter()
            .zip(logits.par_chunks_mut(vocab))
            .map(|(active, logits)| settings.next_token(logits, active))
            .collect::<Result<_>>()?;
        on_tokens(tokens.len());
        let mut still = Vec::with_capacity(active.len());
        for (mut a, token) in active.into_iter().zip(tokens) {
            a.row.len += 1;
            match a.push(token, settings) {
                None => still.push(a),
                Some(completion) => {
                    free.push(a.slot);
                    done[a.request][a.completion] = Some(completion);
                }
            }
        }
        active = still;
    }
    let all = done.into_iter().map(|group| group.into_iter().collect::<Option<Vec<_>>>());
    match all.collect() {
        Some(all) => Ok(all),
        None => bail!("a completion was never decoded"),
    }
}

impl GenerationSettings {
    fn check(&self) -> Result<()> {
        if self.max_batch == 0 || self.max_batch > MAX_ROWS_ONE_BY_ONE {
            bail!("max_batch is {}, expected 1 to {MAX_ROWS_ONE_BY_ONE}", self.max_batch);
        }
        if self.max_new_tokens == 0 {
            bail!("max_new_tokens is 0, expected at least 1");
        }
        Ok(())
    }

    /// Chooses the next token of `active` from its row of logits.
    fn next_token(&self, logits: &mut [f32], active: &Active) -> Result<Sampled> {
        let n = active.token_ids.len();
        // Only the repetition penalty looks back, and copying a prompt for every token is not free.
        let seen = if self.sampler.looks_back() {
            [active.prompt.input_ids.as_slice(), &active.token_ids].concat()
        } else {
            Vec::new()
        };
        let uniform = active.stream.uniform(n as u32);
        let sampled = self.sampler.sample(logits, &seen, self.suppressed.after(n), uniform);
        sampled.map_err(candle_core::Error::wrap)
    }
}

impl Active<'_> {
    /// Appends a token; the completion, once it has ended.
    fn push(&mut self, sampled: Sampled, settings: &GenerationSettings) -> Option<Completion> {
        let Sampled { id: token, logp } = sampled;
        self.row.token = token;
        self.row.position = self.prompt.next_position + self.token_ids.len() as u32;
        self.token_ids.push(token);
        self.logps.push(logp);
        let is_finished = settings.stop_ids.contains(&token);
        if !is_finished && self.token_ids.len() < settings.max_new_tokens {
            return None;
        }
        let (token_ids, logps) =
            (std::mem::take(&mut self.token_ids), std::mem::take(&mut self.logps));
        Some(Completion { token_ids, logps, is_finished })
    }
}

/// Completions that have not begun.
struct Waiting<'a> {
    requests: &'a [Request<'a>],
    queue: VecDeque<(usize, usize)>,
    /// The prompt computed last, while completions of it wait.
    prefilled: Option<(usize, Prefilled)>,
}

/// A completion about to begin, with the logits of its first token.
struct Admitted<'a> {
    active: Active<'a>,
    logits: Vec<f32>,
}

impl<'a> Waiting<'a> {
    fn new(requests: &'a [Request<'a>]) -> Self {
        let of = |(i, request): (usize, &Request)| (0..request.streams.len()).map(move |c| (i, c));
        let queue = requests.iter().enumerate().flat_map(of).collect();
        Self { requests, queue, prefilled: None }
    }

    fn admit(&mut self, model: &Qwen2Vl, slot: usize, room: usize) -> Result<Option<Admitted<'a>>> {
        let Some((request, completion)) = self.queue.pop_front() else {
            self.prefilled = None;
            return Ok(None);
        };
        let Request { prompt, streams } = &self.requests[request];
        let prefilled = match self.prefilled.take() {
            Some((of, prefilled)) if of == request => prefilled,
            _ => model.prefill(prompt)?,
        };
        self.prefilled = Some((request, prefilled.clone()));
        let row = DecodeRow {
            token: 0,
            position: prefilled.next_position,
            prompt: prefilled.cache.clone(),
            start: slot * room,
            len: 0,
        };
        let stream = streams[completion];
        let (token_ids, logps) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let active = Active { request, completion, slot, stream, prompt, row, token_ids, logps };
        Ok(Some(Admitted { active, logits: prefilled.logits.to_vec1::<f32>()? }))
    }
}
