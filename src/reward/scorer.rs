//! Rewards of whole batches: every component, and the custom reward where there is one.
//! Not here: the components (`registry`), the protocol with the command (`external`).

use super::Reward;
use super::component::ScoredText;
use super::external::{ExternalError, ExternalRequest, ExternalReward};
use super::gold::Golds;
use super::settings::RewardSettings;
use super::total::score_group;
use serde_json::{Map, Value};

/// Settings with the command of a custom reward, if there is one, running.
#[derive(Debug)]
pub struct Scorer {
    settings: RewardSettings,
    external: Option<(ExternalReward, f64)>,
}

/// A prompt's completions and what they are scored against.
#[derive(Clone, Copy, Debug)]
pub struct ScoredGroup<'a> {
    /// What names the prompt to a custom reward.
    pub prompt_id: &'a str,
    /// The sample's question.
    pub problem: &'a str,
    /// The paths of the sample's pictures, as a custom reward is given them.
    pub images: &'a [Option<String>],
    /// The row's other fields, likewise.
    pub columns: &'a Map<String, Value>,
    /// The sample's solution.
    pub gold: &'a Golds,
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

    /// The settings it was made with; a [`Golds`] is parsed with the same.
    pub fn settings(&self) -> &RewardSettings {
        &self.settings
    }

    /// The rewards of every group's completions, in their order. All groups together are one batch to a custom reward,
    /// so that its time limit holds for all of them.
    ///
    /// # Errors
    /// The command fails; no text of a completion is an error.
    pub fn score(&mut self, groups: &[ScoredGroup]) -> Result<Vec<Vec<Reward>>, ExternalError> {
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

fn requests_of<'a>(group: &ScoredGroup<'a>) -> impl Iterator<Item = ExternalRequest<'a>> {
    let ScoredGroup { prompt_id, problem, images, columns, gold, completions } = *group;
    completions.iter().map(move |completion| ExternalRequest {
        completion: completion.text,
        solution: gold.solution(),
        problem,
        prompt_id,
        images,
        columns,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::choice::CHOICE;
    use super::super::{EXTERNAL, ExternalCommand};
    use super::*;

    fn text(text: &str) -> ScoredText<'_> {
        ScoredText { text, n_tokens: 5 }
    }

    #[test]
    fn without_a_command_the_rewards_are_those_of_the_components() {
        let settings =
            RewardSettings { weights: vec![(&CHOICE, 0.5)], ..RewardSettings::default() };
        let mut scorer = Scorer::new(settings).unwrap();
        let gold = Golds::parse(scorer.settings(), "B").unwrap();
        let completions = [text("<answer>B</answer>"), text("<answer>A</answer>")];
        let columns = Map::new();
        let group = ScoredGroup {
            prompt_id: "1",
            problem: "?",
            images: &[],
            columns: &columns,
            gold: &gold,
            completions: &completions,
        };
        let rewards = scorer.score(&[group]).unwrap();
        assert_eq!(rewards, [score_group(scorer.settings(), &gold, &completions)]);
        assert_eq!((rewards[0][0].total, rewards[0][1].total), (1.5, 0.0));
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "says why nothing was checked")]
    fn custom_scores_join_their_own_completions_with_their_weight() {
        // The id itself is the score, so that completions that are mixed up fail the test.
        let script = r#"while read -r line; do id=${line#*\"id\":}; id=${id%%,*};
            echo "{\"id\":$id,\"score\":$id}"; done"#;
        let command = ExternalCommand {
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            timeout: Duration::from_secs(20),
        };
        let settings =
            RewardSettings { external: Some((command, 0.5)), ..RewardSettings::default() };
        let mut scorer = match Scorer::new(settings) {
            Ok(scorer) => scorer,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let gold = Golds::parse(scorer.settings(), "7").unwrap();
        let (first, second) =
            ([text("<answer>7</answer>")], [text(""), text("<answer>7</answer>")]);
        let columns = Map::new();
        let group = |completions| ScoredGroup {
            prompt_id: "1",
            problem: "?",
            images: &[],
            columns: &columns,
            gold: &gold,
            completions,
        };
        let rewards = scorer.score(&[group(&first), group(&second)]).unwrap();
        let totals: Vec<f64> = rewards.iter().flatten().map(|reward| reward.total).collect();
        // accuracy + 0.5 * id
        assert_eq!(totals, [1.0, 0.5, 2.0]);
        assert_eq!(rewards[1][1].components, [(EXTERNAL, 2.0)]);
    }
}
