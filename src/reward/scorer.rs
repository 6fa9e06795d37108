//! Rewards of whole batches: every component, and the custom reward where there is one.
//! Not here: the components (`registry`), the protocol with the command (`external`).

use super::Reward;
use super::external::{ExternalError, ExternalRequest, ExternalReward};
use super::registry::{Gold, RewardSettings, ScoredText, score_group};

/// Settings with the command of a custom reward, if there is one, running.
#[derive(Debug)]
pub struct Scorer {
    settings: RewardSettings,
    external: Option<(ExternalReward, f64)>,
}

/// A prompt's completions and what they are scored against.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// What names the prompt to a custom reward.
    pub prompt_id: &'a str,
    /// The sample's question.
    pub problem: &'a str,
    /// The sample's solution.
    pub gold: &'a Gold,
    /// Its completions.
    pub completions: &'a [ScoredText<'a>],
}

impl Scorer {
    /// Starts what the settings need.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn new(settings: RewardSettings) -> Result<Self, ExternalError> {
        let external = match settings.external.clone() {
            Some((command, weight)) => Some((ExternalReward::start(command)?, weight)),
            None => None,
        };
        Ok(Self { settings, external })
    }

    /// The settings it was made of, which a [`Gold`] is parsed with.
    pub fn settings(&self) -> &RewardSettings {
        &self.settings
    }

    /// The rewards of every group's completions, in their order. All groups together are one batch to a custom reward,
    /// so that its time limit holds for all of them.
    ///
    /// # Errors
    /// The command fails; what stands in a completion never does.
    pub fn score(&mut self, groups: &[Group]) -> Result<Vec<Vec<Reward>>, ExternalError> {
        let mut rewards: Vec<Vec<Reward>> = groups
            .iter()
            .map(|group| score_group(&self.settings, group.gold, group.completions))
            .collect();
        if let Some((external, weight)) = &mut self.external {
            let requests: Vec<ExternalRequest> = groups.iter().flat_map(requests_of).collect();
            let scores = external.score(&requests)?;
            for (reward, score) in rewards.iter_mut().flatten().zip(scores) {
                reward.add_external(score, *weight);
            }
        }
        Ok(rewards)
    }
}

fn requests_of<'a>(group: &Group<'a>) -> impl Iterator<Item = ExternalRequest<'a>> {
    let Group { prompt_id, problem, gold, completions } = *group;
    completions.iter().map(move |completion| ExternalRequest {
        completion: completion.text,
        solution: gold.solution(),
        problem,
        prompt_id,
    })
}
