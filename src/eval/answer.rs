//! One graded answer of an evaluation: a line of the answers file.
//! Not here: asking (`ask`), counting (`summary`), the rules (`reward`).

use serde::{Deserialize, Serialize};

use crate::data::Sample;
use crate::reward::grading::format;
use crate::reward::{GoldAnswer, Rule};
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
    pub fn grade(
        sample: &Sample,
        place: (usize, usize),
        (completion, text): (&Completion, String),
        rule: Rule,
    ) -> Self {
        let grade = |rule| GoldAnswer::parse_or_unequal(rule, &sample.solution).grade(&text);
        let (verdict, by_tag) = (grade(rule), grade(Rule::AnswerTag));
        let (row, sample_idx) = place;
        Self {
            row,
            sample_idx,
            accuracy: f64::from(verdict.is_correct),
            answer_tag: f64::from(by_tag.is_correct),
            format: f64::from(format::is_well_formed(&text)),
            reason: verdict.reason.to_string(),
            is_graded: verdict.is_graded(),
            answer: verdict.answer,
            id: sample.id.clone(),
            problem: sample.problem.clone(),
            solution: sample.solution.clone(),
            completion: text,
            n_tokens: completion.token_ids.len(),
            is_truncated: !completion.is_finished,
        }
    }

    /// Whether the answer is right by the task's own rule.
    pub fn is_correct(&self) -> bool {
        self.accuracy >= 1.0
    }

    /// Where it belongs among the others.
    pub fn place(&self) -> (usize, usize) {
        (self.row, self.sample_idx)
    }
}
