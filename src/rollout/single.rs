//! One answer to one prompt.
//! Not here: many completions at once (`engine`), what is asked (`cli`, `eval`).

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::engine::{Completion, Event, GenerationSettings, Request, generate_each, has_room};
use super::sampler::{Sampler, Suppressed};
use crate::model::Model;
use crate::processor::{Processor, Prompt};
use crate::rng::{Purpose, Stream};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SingleError {
    /// A prompt that leaves no room for its answer.
    #[error(
        "{n_prompt} prompt tokens and {n_new} new ones exceed the model's {limit} positions\n\
         hint: lower --max-new-tokens, or --max-pixels where there are images"
    )]
    TooLong {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens that may follow.
        n_new: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// The tensor library.
    #[error("decoding an answer: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// How one answer is decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct SingleSettings {
    /// How the next token is chosen.
    pub sampler: Sampler,
    /// Names the random numbers; greedy decoding draws none.
    pub seed: u64,
    /// The answer ends after this many tokens, finished or not.
    pub max_new_tokens: usize,
}

/// Decodes one answer; `on_token` receives its tokens as they come. Greedy decoding suppresses no token and gives the same answer as transformers'
/// `generate`. Sampling never draws the ids that rollouts never draw.
///
/// # Errors
/// The prompt leaves no room for `max_new_tokens`, or the model's own.
pub fn answer(
    model: &Model,
    processor: &Processor,
    prompt: &Prompt,
    settings: &SingleSettings,
    on_token: &mut dyn FnMut(u32),
) -> Result<Completion, SingleError> {
    let (n_prompt, n_new) = (prompt.input_ids.len(), settings.max_new_tokens);
    let limit = model.max_positions();
    if !has_room(n_prompt, n_new, limit) {
        return Err(SingleError::TooLong { n_prompt, n_new, limit });
    }
    let markers = if settings.sampler.is_greedy() {
        Vec::new()
    } else {
        processor.never_sampled(model.vocab_size())
    };
    let generation = GenerationSettings {
        sampler: settings.sampler.clone(),
        suppressed: Suppressed::new(&markers, &[], 0),
        max_new_tokens: n_new,
        stop_ids: processor.special().stop_ids.clone(),
        max_batch: 1,
    };
    let stream = Stream::new(settings.seed, Purpose::Inference, 0, 0, 0);
    let request = Request { prompt: Cow::Borrowed(prompt), streams: vec![stream] };
    let mut answer = None;
    generate_each(model, &mut [request].into_iter(), &generation, &mut |event| {
        match event {
            Event::Tokens(tokens) => tokens.iter().for_each(|token| on_token(token.token_id)),
            Event::Ended { sampled, .. } => answer = Some(sampled),
        }
        ControlFlow::Continue(())
    })?;
    match answer {
        Some(completion) => Ok(completion),
        None => Err(candle_core::Error::Msg("no completion was decoded".to_owned()).into()),
    }
}
