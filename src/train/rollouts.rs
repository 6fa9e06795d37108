//! The first half of an update: prompts, their sampled completions, rewards and advantages.
//! Not here: sampling itself (`rollout`), the rules (`reward`), Eq. (2) (`grpo::advantage`).

use std::borrow::Cow;

use super::error::TrainError;
use super::questions::Question;
use crate::grpo::advantage::group_advantages;
use crate::model::qwen2_vl::Qwen2Vl;
use crate::processor::Processor;
use crate::reward::{ExternalError, Gold, Group, Reward, ScoredText, Scorer};
use crate::rng::{Purpose, Stream};
use crate::rollout::engine::{Completion, GenerationSettings, Request, generate};

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
) -> candle_core::Result<Vec<Vec<Completion>>> {
    let RolloutNames { seed, update, group_size } = names;
    let requests: Vec<Request> = questions
        .iter()
        .map(|question| {
            let stream = |i| Stream::new(seed, Purpose::Rollout, update, question.place, i);
            Request {
                prompt: Cow::Borrowed(&question.prompt),
                streams: (0..group_size as u32).map(stream).collect(),
            }
        })
        .collect();
    generate(model, requests, settings, on_tokens)
}

/// Rewards a batch of groups and turns the rewards into advantages.
///
/// # Errors
/// A completion cannot be decoded, or the command of a custom reward fails.
pub fn score_groups(
    processor: &Processor,
    questions: Vec<Question>,
    completions: Vec<Vec<Completion>>,
    scorer: &mut Scorer,
) -> Result<Vec<RolloutGroup>, TrainError> {
    let decode = |group: &Vec<Completion>| {
        group.iter().map(|completion| processor.decode(&completion.token_ids, true)).collect()
    };
    let texts: Vec<Vec<String>> = completions.iter().map(decode).collect::<Result<_, _>>()?;
    let rewards = reward(scorer, &questions, &completions, &texts)?;
    let scored_groups = questions.into_iter().zip(completions).zip(texts).zip(rewards);
    let groups = scored_groups.map(|(((question, group), texts), rewards)| {
        let totals: Vec<f64> = rewards.iter().map(|reward| reward.total).collect();
        let scored = group.into_iter().zip(texts).zip(rewards).zip(group_advantages(&totals));
        let scored = scored.map(|(((completion, text), reward), advantage)| Scored {
            completion,
            text,
            reward,
            advantage,
        });
        RolloutGroup { question, completions: scored.collect() }
    });
    Ok(groups.collect())
}

fn reward(
    scorer: &mut Scorer,
    questions: &[Question],
    completions: &[Vec<Completion>],
    texts: &[Vec<String>],
) -> Result<Vec<Vec<Reward>>, ExternalError> {
    let parse = |q: &Question| Gold::parse_or_unequal(scorer.settings(), &q.sample.solution);
    let golds: Vec<Gold> = questions.iter().map(parse).collect();
    let texts: Vec<Vec<ScoredText>> = completions
        .iter()
        .zip(texts)
        .map(|(group, texts)| {
            let lengths = group.iter().map(|completion| completion.token_ids.len());
            let texts = texts.iter().zip(lengths);
            texts.map(|(text, n_tokens)| ScoredText { text, n_tokens }).collect()
        })
        .collect();
    let groups: Vec<Group> = questions
        .iter()
        .zip(&golds)
        .zip(&texts)
        .map(|((question, gold), completions)| Group {
            prompt_id: &question.sample.id,
            problem: &question.sample.problem,
            gold,
            completions,
        })
        .collect();
    scorer.score(&groups)
}
