//! The third stage of an update: texts, rewards and advantages of a batch's completions.
//! Not here: the rules (`reward`), Eq. (2) (`grpo::advantage`).

use super::draw::Question;
use super::error::TrainError;
use super::prompt_sampler::Outcome;
use crate::data::ImageSource;
use crate::grpo::advantage::Estimator;
use crate::processor::Processor;
use crate::reward::{ExternalError, Golds, Reward, ScoredGroup, ScoredText, Scorer};
use crate::rollout::engine::Completion;

/// A completion with everything that is known of it before the policy is updated.
#[derive(Debug, Clone)]
pub struct RewardedCompletion {
    /// What was sampled.
    pub completion: Completion,
    /// Its text, without the stop token.
    pub text: String,
    /// Its reward by component.
    pub reward: Reward,
    /// Eq. (2), the same for every token of it.
    pub advantage: f64,
}

/// A prompt and its rewarded completions.
#[derive(Debug)]
pub struct RolloutGroup {
    /// The prompt.
    pub question: Question,
    /// Its G completions.
    pub completions: Vec<RewardedCompletion>,
    /// Whether the rewards differ; without signal only the KL term has a gradient.
    pub has_signal: bool,
}

impl RolloutGroup {
    /// The total reward of each completion.
    pub fn rewards(&self) -> Vec<f64> {
        self.completions.iter().map(|completion| completion.reward.total).collect()
    }

    /// The identifier of its data row.
    pub fn sample_id(&self) -> String {
        self.question.sample.id.clone()
    }

    /// What the sampler of prompts receives.
    pub fn outcome(&self) -> Outcome {
        Outcome { row: self.question.draw.row, rewards: self.rewards() }
    }
}

/// Rewards a batch of groups and turns the rewards into advantages.
///
/// # Errors
/// A completion cannot be decoded, or the command of a custom reward fails.
pub fn reward(
    processor: &Processor,
    (scorer, estimator): (&mut Scorer, Estimator),
    questions: Vec<Question>,
    completions: Vec<Vec<Completion>>,
) -> Result<Vec<RolloutGroup>, TrainError> {
    let decode = |group: &Vec<Completion>| {
        group.iter().map(|completion| processor.decode(&completion.token_ids, true)).collect()
    };
    let texts: Vec<Vec<String>> = completions.iter().map(decode).collect::<Result<_, _>>()?;
    let rewards = rewards(scorer, &questions, &completions, &texts)?;
    let totals = |group: &Vec<Reward>| group.iter().map(|reward| reward.total).collect();
    let advantages = estimator.advantages(&rewards.iter().map(totals).collect::<Vec<_>>());
    let groups = questions.into_iter().zip(completions).zip(texts).zip(rewards).zip(advantages);
    let groups =
        groups.map(|((((question, completions), texts), rewards), advantages)| {
            let members = completions.into_iter().zip(texts).zip(rewards).zip(advantages.values);
            let members = members.map(|(((completion, text), reward), advantage)| {
                RewardedCompletion { completion, text, reward, advantage }
            });
            let completions = members.collect();
            RolloutGroup { question, completions, has_signal: advantages.has_signal }
        });
    Ok(groups.collect())
}

fn rewards(
    scorer: &mut Scorer,
    questions: &[Question],
    completions: &[Vec<Completion>],
    texts: &[Vec<String>],
) -> Result<Vec<Vec<Reward>>, ExternalError> {
    let parse = |q: &Question| Golds::parse_or_unequal(scorer.settings(), &q.sample.solution);
    let golds: Vec<Golds> = questions.iter().map(parse).collect();
    let texts: Vec<Vec<ScoredText>> = completions
        .iter()
        .zip(texts)
        .map(|(group, texts)| {
            let lengths = group.iter().map(|completion| completion.token_ids.len());
            let texts = texts.iter().zip(lengths);
            texts.map(|(text, n_tokens)| ScoredText { text, n_tokens }).collect()
        })
        .collect();
    let path = |image: &ImageSource| image.file().map(|path| path.display().to_string());
    let images = |q: &Question| q.sample.images.iter().map(path).collect();
    let images: Vec<Vec<Option<String>>> = questions.iter().map(images).collect();
    let groups: Vec<ScoredGroup> = questions
        .iter()
        .zip(&images)
        .zip(&golds)
        .zip(&texts)
        .map(|(((question, images), gold), completions)| ScoredGroup {
            prompt_id: &question.sample.id,
            problem: &question.sample.problem,
            images,
            columns: &question.sample.columns,
            gold,
            completions,
        })
        .collect();
    scorer.score(&groups)
}
