//! What an evaluation found: accuracy by both rules with 95% intervals, format rate, and pass@k and the majority's answer
//! where each question was asked several times.
//! Not here: asking (`ask`), one answer (`answer`), the arithmetic of votes (`votes`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::interval::{mean95, wilson95};
use super::votes::{majority, pass_at};
use crate::reward::Rule;

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The task's name, or the data's.
    pub task: String,
    /// Questions asked.
    pub n: usize,
    /// The task's own rule.
    pub rule: String,
    /// Right answers by that rule, over all answers to all questions.
    pub correct: usize,
    /// The fraction of the answers that is right.
    pub accuracy: f64,
    /// The accuracy's 95% interval: Wilson's, or over the questions' own means where each was asked several times.
    pub ci95: [f64; 2],
    /// The same by `answer-tag`, which looks at the contents of the last `<answer>` alone.
    pub answer_tag: Tally,
    /// Completions without an answer that the task's own rule could grade; they count as wrong.
    pub ungraded: usize,
    /// Fraction of the completions that have the asked-for form.
    pub format_rate: f64,
    /// The components of the reward registry that are reported beside accuracy, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentMean>,
    /// Fraction of the completions that the token limit cut off.
    pub truncated_fraction: f64,
    /// Mean length of a completion, tokens.
    pub completion_length: f64,
    /// The results over several answers to each question; `None` where each question was asked once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<SampledSummary>,
}

/// Right answers by one rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Right answers.
    pub correct: usize,
    /// The fraction of the answers that is right.
    pub accuracy: f64,
    /// The accuracy's 95% interval.
    pub ci95: [f64; 2],
}

/// A reward component over all answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ComponentMean {
    /// The mean over all answers to all questions.
    pub mean: f64,
    /// The mean's 95% interval over questions; `None` for a single question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci95: Option<[f64; 2]>,
}

/// The results over several answers to each question, by the task's own rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampledSummary {
    /// Answers to each question.
    pub samples: usize,
    /// pass@k for k = 1, 2, 4, ... and the number of answers: the mean over questions.
    pub pass_at: BTreeMap<usize, f64>,
    /// The answer that most agree on, graded.
    pub majority: Tally,
}

impl Tally {
    /// `correct` right answers of `n`, each to a question of its own.
    pub fn new(correct: usize, n: usize) -> Self {
        Self { correct, accuracy: correct as f64 / n.max(1) as f64, ci95: wilson95(correct, n) }
    }

    /// Right answers among all answers to each question.
    fn of(questions: &[Vec<&Answer>], is_correct: impl Fn(&Answer) -> bool) -> Self {
        let rights: Vec<usize> = questions
            .iter()
            .map(|answers| answers.iter().filter(|answer| is_correct(answer)).count())
            .collect();
        let correct = rights.iter().sum();
        if questions.iter().all(|answers| answers.len() == 1) {
            return Self::new(correct, questions.len());
        }
        let part = |(answers, right): (&Vec<&Answer>, &usize)| *right as f64 / answers.len() as f64;
        let parts: Vec<f64> = questions.iter().zip(&rights).map(part).collect();
        let n_answers: usize = questions.iter().map(Vec::len).sum();
        // One question alone says nothing about others.
        let [low, high] = mean95(&parts).unwrap_or([0.0, 1.0]);
        let accuracy = correct as f64 / n_answers as f64;
        Self { correct, accuracy, ci95: [low.max(0.0), high.min(1.0)] }
    }
}

/// The mean accuracy of several runs of one configuration and its 95% interval: Student's over two or more, else the one
/// run's own over its questions. `measured` holds at least one.
pub fn accuracy_over_seeds(measured: &[&Summary]) -> (f64, [f64; 2]) {
    let accuracies: Vec<f64> = measured.iter().map(|summary| summary.accuracy).collect();
    let mean = accuracies.iter().sum::<f64>() / accuracies.len().max(1) as f64;
    let own = measured.first().map_or([0.0, 1.0], |summary| summary.ci95);
    let [low, high] = mean95(&accuracies).unwrap_or(own);
    (mean, [low.max(0.0), high.min(1.0)])
}

/// Counts answers, all of one evaluation.
pub fn summarize(task: &str, rule: Rule, answers: &[Answer]) -> Summary {
    let mut by_row: BTreeMap<usize, Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        by_row.entry(answer.row).or_default().push(answer);
    }
    let questions: Vec<Vec<&Answer>> = by_row.into_values().collect();
    let n_answers = answers.len().max(1) as f64;
    let mean = |of: &dyn Fn(&Answer) -> f64| answers.iter().map(of).sum::<f64>() / n_answers;
    let Tally { correct, accuracy, ci95 } = Tally::of(&questions, Answer::is_correct);
    Summary {
        task: task.to_owned(),
        n: questions.len(),
        rule: rule.name().to_owned(),
        correct,
        accuracy,
        ci95,
        answer_tag: Tally::of(&questions, |answer| answer.answer_tag >= 1.0),
        ungraded: answers.iter().filter(|answer| !answer.is_graded).count(),
        format_rate: mean(&|answer| answer.format),
        components: components(&questions),
        truncated_fraction: mean(&|answer| f64::from(answer.is_truncated)),
        completion_length: mean(&|answer| answer.n_tokens as f64),
        sampled: sampled(&questions),
    }
}

/// The means of the components that every answer has.
fn components(questions: &[Vec<&Answer>]) -> BTreeMap<String, ComponentMean> {
    let names = questions.iter().flatten().flat_map(|answer| answer.components.keys());
    let names: BTreeSet<&String> = names.collect();
    let mean_of = |name: &String| {
        let of = |answers: &Vec<&Answer>| {
            let values = answers.iter().filter_map(|answer| answer.components.get(name));
            values.sum::<f64>() / answers.len() as f64
        };
        // Every question has as many answers as the others.
        let means: Vec<f64> = questions.iter().map(of).collect();
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        ComponentMean { mean, ci95: mean95(&means) }
    };
    names.into_iter().map(|name| (name.clone(), mean_of(name))).collect()
}

fn sampled(questions: &[Vec<&Answer>]) -> Option<SampledSummary> {
    let samples = questions.iter().map(Vec::len).min().filter(|samples| *samples > 1)?;
    let doubled = std::iter::successors(Some(1), |k| Some(2 * k)).take_while(|k| *k < samples);
    let pass = |k: usize| {
        let of = |answers: &Vec<&Answer>| {
            let right = answers.iter().filter(|answer| answer.is_correct()).count();
            pass_at(k, answers.len(), right)
        };
        (k, questions.iter().map(of).sum::<f64>() / questions.len() as f64)
    };
    let is_majority_right = |answers: &&Vec<&Answer>| {
        let found: Vec<Option<&str>> =
            answers.iter().map(|answer| answer.answer.as_deref()).collect();
        majority(&found).is_some_and(|winner| answers[winner].is_correct())
    };
    Some(SampledSummary {
        samples,
        pass_at: doubled.chain([samples]).map(pass).collect(),
        majority: Tally::new(questions.iter().filter(is_majority_right).count(), questions.len()),
    })
}

/// `correct` right answers of `n`, all in the asked-for form.
#[cfg(test)]
pub(crate) fn test_summary(correct: usize, n: usize) -> Summary {
    let tally = Tally::new(correct, n);
    Summary {
        task: "synth-vc".to_owned(),
        n,
        rule: Rule::AnswerTag.name().to_owned(),
        correct,
        accuracy: tally.accuracy,
        ci95: tally.ci95,
        answer_tag: tally,
        ungraded: 0,
        format_rate: 1.0,
        components: BTreeMap::new(),
        truncated_fraction: 0.0,
        completion_length: 20.0,
        sampled: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(row: usize, sample_idx: usize, text: &str) -> Answer {
        let is_right = text == "7";
        Answer {
            id: format!("rows.jsonl:{row}"),
            row,
            sample_idx,
            problem: "?".to_owned(),
            solution: "7".to_owned(),
            completion: text.to_owned(),
            answer: Some(text.to_owned()),
            accuracy: f64::from(is_right),
            answer_tag: f64::from(is_right),
            format: 1.0,
            components: BTreeMap::new(),
            reason: String::new(),
            is_graded: true,
            n_tokens: 3,
            is_truncated: false,
        }
    }

    #[test]
    fn questions_that_were_asked_once_have_wilsons_interval() {
        let answers = [answer(0, 0, "7"), answer(1, 0, "8"), answer(2, 0, "7")];
        let summary = summarize("t", Rule::AnswerTag, &answers);
        assert_eq!((summary.n, summary.correct), (3, 2));
        assert!(summary.ci95.iter().zip(wilson95(2, 3)).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!(summary.sampled, None);
    }

    #[test]
    fn several_answers_give_pass_at_k_and_a_majority() {
        // Row 0: right 3 of 4, row 1: right 1 of 4, where 8 has the majority.
        let rows = [["7", "7", "7", "8"], ["8", "8", "7", "9"]];
        let answers: Vec<Answer> = rows
            .iter()
            .enumerate()
            .flat_map(|(row, texts)| {
                texts.iter().enumerate().map(move |(idx, text)| answer(row, idx, text))
            })
            .collect();
        let summary = summarize("t", Rule::AnswerTag, &answers);
        assert_eq!((summary.n, summary.correct), (2, 4));
        assert!((summary.accuracy - 0.5).abs() < 1e-12);
        let sampled = summary.sampled.unwrap();
        assert_eq!(sampled.samples, 4);
        assert_eq!(sampled.pass_at.keys().copied().collect::<Vec<_>>(), [1, 2, 4]);
        // (1 + 1 - C(3, 2) / C(4, 2)) / 2
        assert!((sampled.pass_at[&2] - 0.75).abs() < 1e-12);
        assert!((sampled.pass_at[&4] - 1.0).abs() < 1e-12);
        assert_eq!((sampled.majority.correct, sampled.majority.accuracy), (1, 0.5));
    }
}
