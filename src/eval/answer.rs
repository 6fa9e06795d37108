//! One graded answer of an evaluation: a line of the answers file.
//! Not here: asking (`ask`), counting (`summary`), the rules (`reward`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::Sample;
use crate::reward::{Golds, RewardSettings, Rule, ScoredText, grade, reward_of};
use crate::rollout::engine::Completion;

/// One answered question; a line of the answers file, which `grade` reads as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The sample's identifier.
    pub id: String,
    /// The sample's place in the data, from 0.
    pub row: usize,
    /// Which of the question's answers, from 0; always 0 where each question is asked once.
    pub sample_idx: usize,
    /// The question, before the template.
    pub problem: String,
    /// The right answer as the data has it.
    pub solution: String,
    /// What the model said, without special tokens.
    pub completion: String,
    /// What was found in it as its answer.
    pub answer: Option<String>,
    /// 1 if the answer is right by the task's own rule, else 0.
    pub accuracy: f64,
    /// 1 if it is right by `answer-tag`, else 0.
    pub answer_tag: f64,
    /// 1 if the whole completion has the asked-for form, else 0.
    pub format: f64,
    /// The components of the reward registry that are reported beside accuracy, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, f64>,
    /// Why the accuracy is what it is.
    pub reason: String,
    /// Whether there was an answer that the task's own rule could grade.
    pub is_graded: bool,
    /// Length in tokens, a stop token included.
    pub n_tokens: usize,
    /// Whether the token limit cut it off.
    pub is_truncated: bool,
}

impl Answer {
    /// Grades a completion.
    ///
    /// - `place`: the sample's row, and which of its answers this is
    /// - `text`: the completion's text, without special tokens
    /// - `measure`: the task's own rule, and the components that are reported, see
    ///   [`EvalSettings::measure`](super::EvalSettings::measure)
    pub fn grade(
        sample: &Sample,
        place: (usize, usize),
        (completion, text): (&Completion, String),
        measure: &RewardSettings,
    ) -> Self {
        let n_tokens = completion.token_ids.len();
        let golds = Golds::parse_or_unequal(measure, &sample.solution);
        let measured = reward_of(measure, &golds, ScoredText { text: &text, n_tokens });
        let by_tag = grade(Rule::AnswerTag, &text, &sample.solution);
        let components = measured.components.into_iter();
        let (row, sample_idx) = place;
        Self {
            row,
            sample_idx,
            accuracy: measured.accuracy,
            answer_tag: f64::from(by_tag.is_correct),
            format: measured.format,
            components: components.map(|(name, value)| (name.to_owned(), value)).collect(),
            reason: measured.reason.to_string(),
            is_graded: measured.reason.is_graded(),
            answer: measured.answer,
            id: sample.id.clone(),
            problem: sample.problem.clone(),
            solution: sample.solution.clone(),
            completion: text,
            n_tokens,
            is_truncated: !completion.is_finished,
        }
    }

    /// Whether the answer is right by the task's own rule.
    pub fn is_correct(&self) -> bool {
        self.accuracy >= 1.0
    }

    /// Its row, and which of the question's answers it is: the order of answers.
    pub fn place(&self) -> (usize, usize) {
        (self.row, self.sample_idx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{ComponentMean, EvalSettings, summarize};
    use crate::reward::box_iou::BOX_IOU;
    use crate::rollout::sampler::Sampler;

    fn overlaps(answers: &[&str]) -> Vec<Answer> {
        let settings = EvalSettings {
            max_new_tokens: 64,
            max_batch: 1,
            rule: Rule::AnswerTag,
            components: vec![&BOX_IOU],
            limit: None,
            samples: 1,
            sampler: Sampler::greedy(),
            seed: 1,
        };
        let sample = Sample {
            id: "boxes.jsonl:1".to_owned(),
            images: Vec::new(),
            problem: "Where is the cat?".to_owned(),
            solution: "[0, 0, 10, 10]".to_owned(),
            demonstration: None,
            columns: std::sync::Arc::default(),
        };
        let completion =
            Completion { token_ids: vec![1, 2, 3], logps: Vec::new(), is_finished: true };
        let grade = |(row, text): (usize, &&str)| {
            let text = format!("<think>?</think><answer>{text}</answer>");
            Answer::grade(&sample, (row, 0), (&completion, text), &settings.measure())
        };
        answers.iter().enumerate().map(grade).collect()
    }

    #[test]
    fn components_are_reported_beside_accuracy_and_change_nothing_else() {
        let answers = overlaps(&["[0, 0, 10, 10]", "[0, 0, 10, 5]", "the cat"]);
        let found = |answer: &Answer| (answer.accuracy, answer.answer_tag, answer.format);
        let expected = [(1.0, 1.0, 1.0), (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)];
        assert_eq!(answers.iter().map(found).collect::<Vec<_>>(), expected);
        assert!(answers.iter().all(|answer| answer.is_graded && answer.n_tokens == 3));
        let overlap = |answer: &Answer| answer.components["box_iou"];
        assert_eq!(answers.iter().map(overlap).collect::<Vec<_>>(), [1.0, 0.5, 0.0]);
        let summary = summarize("boxes", Rule::AnswerTag, &answers);
        let ComponentMean { mean, ci95 } = summary.components["box_iou"];
        assert!((mean - 0.5).abs() < 1e-12);
        // Student's interval of 1, 1/2 and 0: 4.302653 * 0.5 / sqrt(3) to either side
        let [low, high] = ci95.unwrap();
        assert!((high - 0.5 - 1.242_068).abs() < 1e-5 && (low + high - 1.0).abs() < 1e-12);
        assert_eq!(
            summarize("boxes", Rule::AnswerTag, &answers[..1]).components["box_iou"].ci95,
            None
        );
    }
}
