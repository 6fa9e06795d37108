//! The first half of an update: prompts, their sampled completions, rewards and advantages.
//! Not here: sampling itself (`rollout`), the rules (`reward`), Eq. (2) (`grpo::advantage`).

use candle_core::Result;

use crate::data::Sample;
use crate::grpo::advantage::group_advantages;
use crate::model::qwen2_vl::Qwen2Vl;
use crate::processor::{Processor, ProcessorError, Prompt};
use crate::reward::{Reward, Rule, score};
use crate::rng::{Purpose, Stream};
use crate::rollout::engine::{Completion, GenerationSettings, Request, generate};

/// A data row with its prompt.
#[derive(Debug)]
pub struct Question {
    /// The row.
    pub sample: Sample,
    /// Its tokens, positions and patches.
    pub prompt: Prompt,
    /// Its place in the run's order of prompts: what its random streams are named after.
    pub place: u32,
}

/// A completion with everything that is known of it before the policy moves.
#[derive(Debug, Clone)]
pub struct Scored {
    /// What was sampled.
    pub completion: Completion,
    /// Its text, without the stop token.
    pub text: String,
    /// Its reward by component.
    pub reward: Reward,
    /// Eq. (2), the same for every token of it.
    pub advantage: f64,
}

/// A prompt and its scored completions.
#[derive(Debug)]
pub struct RolloutGroup {
    /// The prompt.
    pub question: Question,
    /// Its G completions.
    pub completions: Vec<Scored>,
}

impl RolloutGroup {
    /// Whether the rewards differ at all; a group without signal moves nothing but the KL term.
    pub fn has_signal(&self) -> bool {
        self.completions.iter().any(|c| c.advantage != 0.0)
    }
}

/// How rollouts are rewarded.
#[derive(Debug, Clone, Copy)]
pub struct RewardSettings {
    /// The rule behind the accuracy.
    pub rule: Rule,
    /// The format's weight, Eq. (1).
    pub alpha: f64,
}

/// What names the random streams of a batch of rollouts.
#[derive(Debug, Clone, Copy)]
pub struct RolloutNames {
    /// The run's seed.
    pub seed: u64,
    /// The update the rollouts are made for.
    pub update: u32,
    /// Completions per prompt.
    pub group_size: usize,
}

/// Samples a group per question.
///
/// # Errors
/// The model's own.
pub fn sample_groups(
    model: &Qwen2Vl,
    questions: &[Question],
    settings: &GenerationSettings,
    names: RolloutNames,
    on_tokens: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Completion>>> {
    let RolloutNames { seed, update, group_size } = names;
    let requests: Vec<Request> = questions
        .iter()
        .map(|question| {
            let stream = |i| Stream::new(seed, Purpose::Rollout, update, question.place, i);
            Request {
                prompt: &question.prompt,
                streams: (0..group_size as u32).map(stream).collect(),
            }
        })
        .collect();
    generate(model, &requests, settings, on_tokens)
}

/// Rewards a batch of groups and turns the rewards into advantages.
///
/// # Errors
/// A completion cannot be decoded.
pub fn score_groups(
    processor: &Processor,
    questions: Vec<Question>,
    completions: Vec<Vec<Completion>>,
    settings: RewardSettings,
) -> std::result::Result<Vec<RolloutGroup>, ProcessorError> {
    let score_group = |(question, group): (Question, Vec<Completion>)| {
        let mut scored = Vec::with_capacity(group.len());
        for completion in group {
            let text = processor.decode(&completion.token_ids, true)?;
            let reward = score(&text, &question.sample.solution, settings.alpha, settings.rule);
            scored.push(Scored { completion, text, reward, advantage: 0.0 });
        }
        let rewards: Vec<f64> = scored.iter().map(|s| s.reward.total).collect();
        for (scored, advantage) in scored.iter_mut().zip(group_advantages(&rewards)) {
            scored.advantage = advantage;
        }
        Ok(RolloutGroup { question, completions: scored })
    };
    questions.into_iter().zip(completions).map(score_group).collect()
}
