//! The second stage of an update: a group of completions per drawn prompt.
//! Not here: sampling itself (`rollout`), what the completions are worth (`reward`).

use std::borrow::Cow;

use super::draw::Question;
use crate::model::Model;
use crate::rng::Purpose;
use crate::rollout::engine::{Completion, GenerationSettings, Request, generate};

/// What identifies the random streams of a batch of rollouts, besides each prompt's draw.
#[derive(Debug, Clone, Copy)]
pub struct RolloutNames {
    /// The run's seed.
    pub seed: u64,
    /// The update the rollouts are made for.
    pub update: u32,
    /// Completions per prompt.
    pub group_size: usize,
}

/// Samples a group per question: `[B][G]`.
///
/// # Errors
/// The model's own.
pub fn sample(
    policy: &Model,
    questions: &[Question],
    settings: &GenerationSettings,
    names: RolloutNames,
    on_tokens: &mut dyn FnMut(usize),
) -> candle_core::Result<Vec<Vec<Completion>>> {
    let RolloutNames { seed, update, group_size } = names;
    let requests = questions.iter().map(|question| {
        let stream = |i| question.draw.stream(seed, Purpose::Rollout, update, i);
        Request {
            prompt: Cow::Borrowed(&question.prompt),
            streams: (0..group_size as u32).map(stream).collect(),
        }
    });
    generate(policy, requests.collect(), settings, on_tokens)
}
