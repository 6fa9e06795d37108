//! Continuous batching: prompts are computed once, their completions decode together, a finished one
//! leaves its place to a waiting one.
//! Not here: choosing a token (`sampler`), the model's arithmetic (`model::decoding`), scoring (`reward`).
//!
//! A completion's tokens depend on its prompt, its random stream and the settings alone, never on what
//! else is being decoded: prompts are computed one by one, and the kernels of a decoding step treat
//! every row by itself. (On the plain path, CUDA and 16 bits, this holds up to the rounding of a
//! matrix product of another height.)

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::sampler::{Sampled, Sampler, Suppressed};
use crate::model::decoding::{DecodeRow, Prefilled, SuffixCache};
use crate::model::qwen2_vl::Qwen2Vl;
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
    /// Completions decoded at once.
    pub max_batch: usize,
}

/// One prompt and the completions wanted of it.
#[derive(Debug)]
pub struct Request<'a> {
    /// The prompt.
    pub prompt: Cow<'a, Prompt>,
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

/// What is told of a generation as it goes on.
#[derive(Debug)]
pub enum Event {
    /// A step has made so many tokens.
    Tokens(usize),
    /// A completion has ended.
    Ended {
        /// Which request, counted as they came.
        request: usize,
        /// Which of its completions, counted as its streams.
        completion: usize,
        /// What was sampled.
        sampled: Completion,
    },
}

/// A completion that is being decoded.
struct Active {
    request: usize,
    completion: usize,
    slot: usize,
    stream: Stream,
    /// The prompt's tokens, where the sampler looks back at them.
    prompt_ids: Vec<u32>,
    /// The position of the first token after the prompt.
    next_position: u32,
    row: DecodeRow,
    token_ids: Vec<u32>,
    logps: Vec<f32>,
}

/// Samples the completions of all requests: `[request][completion]`. `on_tokens` hears of every
/// decoding step how many tokens it made.
///
/// # Errors
/// Settings that cannot work, or the model's own.
pub fn generate(
    model: &Qwen2Vl,
    requests: Vec<Request>,
    settings: &GenerationSettings,
    on_tokens: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Completion>>> {
    let mut done: Vec<Vec<Option<Completion>>> =
        requests.iter().map(|request| vec![None; request.streams.len()]).collect();
    let total: usize = done.iter().map(Vec::len).sum();
    let settings =
        GenerationSettings { max_batch: settings.max_batch.min(total.max(1)), ..settings.clone() };
    generate_each(model, &mut requests.into_iter(), &settings, &mut |event| {
        match event {
            Event::Tokens(n) => on_tokens(n),
            Event::Ended { request, completion, sampled } => {
                done[request][completion] = Some(sampled);
            }
        }
        ControlFlow::Continue(())
    })?;
    let all = done.into_iter().map(|group| group.into_iter().collect::<Option<Vec<_>>>());
    match all.collect() {
        Some(all) => Ok(all),
        None => bail!("a completion was never decoded"),
    }
}

/// Samples the completions of requests as they are needed: the next request is asked for when a place is free, so
/// that the places stay full to the last request and only prompts that are being answered are held.
///
/// `on_event` hears of every completion when it ends; `Break` ends the generation there.
///
/// # Errors
/// Settings that cannot work, or the model's own.
pub fn generate_each(
    model: &Qwen2Vl,
    requests: &mut dyn Iterator<Item = Request<'_>>,
    settings: &GenerationSettings,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<()> {
    settings.check()?;
    let cache = model.suffix_cache(settings.max_batch * settings.max_new_tokens)?;
    let mut free: Vec<usize> = (0..settings.max_batch).rev().collect();
    let mut waiting = Waiting::new(requests);
    let mut active: Vec<Active> = Vec::new();
    loop {
        while let Some(slot) = free.pop() {
            let Some(Admitted { active: new, mut logits }) =
                waiting.admit(model, slot, settings)?
            else {
                free.push(slot);
                break;
            };
            let first = settings.next_token(&mut logits, &new)?;
            let ended = new.push(first, settings, &mut active, &mut free);
            if tell(on_event, 1, ended.into_iter().collect()).is_break() {
                return Ok(());
            }
        }
        if active.is_empty() {
            return Ok(());
        }
        let tokens = next_tokens(model, &cache, &active, settings)?;
        let n_tokens = tokens.len();
        let mut ended = Vec::new();
        for (mut row, token) in std::mem::take(&mut active).into_iter().zip(tokens) {
            row.row.len += 1;
            ended.extend(row.push(token, settings, &mut active, &mut free));
        }
        if tell(on_event, n_tokens, ended).is_break() {
            return Ok(());
        }
    }
}

/// One decoding step: the next token of every active completion.
fn next_tokens(
    model: &Qwen2Vl,
    cache: &SuffixCache,
    active: &[Active],
    settings: &GenerationSettings,
) -> Result<Vec<Sampled>> {
    let rows: Vec<DecodeRow> = active.iter().map(|a| a.row.clone()).collect();
    let logits = model.decode(cache, &rows)?;
    let vocab = logits.dim(1)?;
    let mut logits = logits.flatten_all()?.to_vec1::<f32>()?;
    active
        .par_iter()
        .zip(logits.par_chunks_mut(vocab))
        .map(|(active, logits)| settings.next_token(logits, active))
        .collect()
}

fn tell(
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    n_tokens: usize,
    ended: Vec<Event>,
) -> ControlFlow<()> {
    on_event(Event::Tokens(n_tokens))?;
    ended.into_iter().try_for_each(on_event)
}

impl GenerationSettings {
    fn check(&self) -> Result<()> {
        if self.max_batch == 0 {
            bail!("max_batch is 0, expected at least 1");
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
            [active.prompt_ids.as_slice(), &active.token_ids].concat()
        } else {
            Vec::new()
        };
        let uniform = active.stream.uniform(n as u32);
        let sampled = self.sampler.sample(logits, &seen, self.suppressed.after(n), uniform);
        sampled.map_err(candle_core::Error::wrap)
    }
}

impl Active {
    /// Appends a token. An ended completion leaves its slot and is returned; another joins the active ones.
    fn push(
        mut self,
        sampled: Sampled,
        settings: &GenerationSettings,
        active: &mut Vec<Self>,
        free: &mut Vec<usize>,
    ) -> Option<Event> {
        let Sampled { id: token, logp } = sampled;
        self.row.token = token;
        self.row.position = self.next_position + self.token_ids.len() as u32;
        self.token_ids.push(token);
        self.logps.push(logp);
        let is_finished = settings.stop_ids.contains(&token);
        if !is_finished && self.token_ids.len() < settings.max_new_tokens {
            active.push(self);
            return None;
        }
        free.push(self.slot);
        let Self { request, completion, token_ids, logps, .. } = self;
        let sampled = Completion { token_ids, logps, is_finished };
        Some(Event::Ended { request, completion, sampled })
    }
}

/// Completions that have not begun.
struct Waiting<'i, 'a> {
    requests: &'i mut dyn Iterator<Item = Request<'a>>,
    n_requests: usize,
    current: Option<UnderWay>,
}

/// The request that completions are being begun of.
struct UnderWay {
    number: usize,
    begun: Begun,
    /// Those that have not begun, with their numbers.
    streams: VecDeque<(usize, Stream)>,
}

/// A prompt that has been computed, with what its completions need of it.
#[derive(Clone)]
struct Begun {
    prefilled: Prefilled,
    prompt_ids: Vec<u32>,
    next_position: u32,
}

/// A completion about to begin, with the logits of its first token.
struct Admitted {
    active: Active,
    logits: Vec<f32>,
}

impl<'i, 'a> Waiting<'i, 'a> {
    fn new(requests: &'i mut dyn Iterator<Item = Request<'a>>) -> Self {
        Self { requests, n_requests: 0, current: None }
    }

    /// The next completion, if one waits; its prompt is computed when its first completion begins.
    fn admit(
        &mut self,
        model: &Qwen2Vl,
        slot: usize,
        settings: &GenerationSettings,
    ) -> Result<Option<Admitted>> {
        let (request, begun, completion, stream) = loop {
            if let Some(UnderWay { number, begun, streams }) = &mut self.current
                && let Some((completion, stream)) = streams.pop_front()
            {
                break (*number, begun.clone(), completion, stream);
            }
            self.current = None;
            let Some(Request { prompt, streams }) = self.requests.next() else { return Ok(None) };
            let prefilled = model.prefill(&prompt)?;
            let prompt_ids =
                if settings.sampler.looks_back() { prompt.input_ids.clone() } else { Vec::new() };
            let begun = Begun { prefilled, prompt_ids, next_position: prompt.next_position };
            let streams = streams.into_iter().enumerate().collect();
            self.current = Some(UnderWay { number: self.n_requests, begun, streams });
            self.n_requests += 1;
        };
        let room = settings.max_new_tokens;
        let Begun { prefilled, prompt_ids, next_position } = begun;
        let row = DecodeRow {
            token: 0,
            position: prefilled.next_position,
            prompt: prefilled.cache.clone(),
            start: slot * room,
            len: 0,
        };
        let (token_ids, logps) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let logits = prefilled.logits.to_vec1::<f32>()?;
        let active = Active {
            request,
            completion,
            slot,
            stream,
            prompt_ids,
            next_position,
            row,
            token_ids,
            logps,
        };
        Ok(Some(Admitted { active, logits }))
    }
}
