//! Grading completions that are on disk, by one rule.
//! Not here: the rules (`reward`), the file's form (`data`), asking a model (the parent).

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};

use super::interval::wilson95;
use crate::data::{DataError, ListedCompletion, open_completions};
use crate::reward::grading::format;
use crate::reward::{GoldAnswer, Rule, UnparsableGold, Verdict};

/// Lines that are graded at a time, on all threads.
const BLOCK: usize = 4096;

/// What happens at a solution that the rule cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnparsableGolds {
    /// It is an error.
    Refuse,
    /// Its line is listed, and no completion is right for it.
    Count,
}

/// A graded line.
#[derive(Debug, Clone)]
pub struct GradedCompletion {
    /// The line, from 1.
    pub row: usize,
    /// Its fields, with `accuracy`, `format`, `answer` and `reason` added or replaced.
    pub fields: Map<String, Value>,
    /// What the model said.
    pub completion: String,
    /// Its solution, as the rule reads it.
    pub gold: GoldAnswer,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the whole completion has the asked-for form.
    pub is_well_formed: bool,
}

/// The result of grading a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradingSummary {
    /// The rule's name.
    pub rule: &'static str,
    /// The rule's version.
    pub version: u32,
    /// Lines graded.
    pub n: usize,
    /// Right ones.
    pub correct: usize,
    /// `correct / n`.
    pub accuracy: f64,
    /// Wilson's 95% interval of the accuracy.
    pub ci95: [f64; 2],
    /// Fraction of the completions that have the asked-for form.
    pub format_rate: f64,
    /// Lines without an answer to grade; they score 0.
    pub ungraded: usize,
    /// Lines whose solution the rule cannot read.
    pub unparsable_rows: Vec<usize>,
}

/// What stopped the grading of a file.
#[derive(Debug, thiserror::Error)]
pub enum GradingError {
    /// A line of the file, or the file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A solution that the rule cannot read.
    #[error("{}: line {row}: {source}\nhint: --allow-unparsable counts such lines instead", path.display())]
    Gold {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        row: usize,
        /// What the rule said.
        source: UnparsableGold,
    },
    /// The file has no line.
    #[error("{}: found no line, expected at least one completion", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
}

/// Grades every line of a file, in its order.
///
/// `on_graded` gets each graded line.
///
/// # Errors
/// See [`GradingError`]; or what `on_graded` says.
pub fn grade_file<E: From<GradingError>>(
    path: &Path,
    rule: Rule,
    golds: UnparsableGolds,
    on_graded: &mut dyn FnMut(&GradedCompletion) -> Result<(), E>,
) -> Result<GradingSummary, E> {
    let mut rows = open_completions(path).map_err(GradingError::from)?;
    let mut counts = Counts::default();
    loop {
        let block = rows.by_ref().take(BLOCK).collect::<Result<Vec<_>, _>>();
        let block = block.map_err(GradingError::from)?;
        if block.is_empty() {
            break;
        }
        let graded: Vec<Result<GradedCompletion, GradingError>> =
            block.into_par_iter().map(|listed| grade(path, rule, golds, listed)).collect();
        for graded in graded {
            let graded = graded?;
            counts.add(&graded);
            on_graded(&graded)?;
        }
    }
    if counts.n == 0 {
        return Err(GradingError::NoRows { path: path.to_owned() }.into());
    }
    Ok(counts.summary(rule))
}

fn grade(
    path: &Path,
    rule: Rule,
    golds: UnparsableGolds,
    listed: ListedCompletion,
) -> Result<GradedCompletion, GradingError> {
    let ListedCompletion { row, mut fields, completion, solution } = listed;
    let gold = match (GoldAnswer::parse(rule, &solution), golds) {
        (Ok(gold), _) => gold,
        (Err(_), UnparsableGolds::Count) => GoldAnswer::parse_or_unequal(rule, &solution),
        (Err(source), UnparsableGolds::Refuse) => {
            return Err(GradingError::Gold { path: path.to_owned(), row, source });
        }
    };
    let verdict = gold.grade(&completion);
    let is_well_formed = format::is_well_formed(&completion);
    fields.insert("accuracy".to_owned(), one_or_zero(verdict.is_correct));
    fields.insert("format".to_owned(), one_or_zero(is_well_formed));
    fields.insert("answer".to_owned(), verdict.answer.clone().map_or(Value::Null, Value::String));
    fields.insert("reason".to_owned(), Value::String(verdict.reason.to_string()));
    Ok(GradedCompletion { row, fields, completion, gold, verdict, is_well_formed })
}

fn one_or_zero(is_one: bool) -> Value {
    Value::from(f64::from(u8::from(is_one)))
}

#[derive(Default)]
struct Counts {
    n: usize,
    correct: usize,
    well_formed: usize,
    ungraded: usize,
    unparsable_rows: Vec<usize>,
}

impl Counts {
    fn add(&mut self, graded: &GradedCompletion) {
        let verdict = &graded.verdict;
        self.n += 1;
        self.correct += usize::from(verdict.is_correct);
        self.well_formed += usize::from(graded.is_well_formed);
        self.ungraded += usize::from(!verdict.is_graded());
        if !graded.gold.is_parsed() {
            self.unparsable_rows.push(graded.row);
        }
    }

    fn summary(self, rule: Rule) -> GradingSummary {
        GradingSummary {
            rule: rule.name(),
            version: rule.version(),
            n: self.n,
            correct: self.correct,
            accuracy: self.correct as f64 / self.n as f64,
            ci95: wilson95(self.correct, self.n),
            format_rate: self.well_formed as f64 / self.n as f64,
            ungraded: self.ungraded,
            unparsable_rows: self.unparsable_rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graded(
        text: &str,
        rule: Rule,
        golds: UnparsableGolds,
    ) -> Result<GradingSummary, GradingError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        std::fs::write(&path, text).unwrap();
        grade_file(&path, rule, golds, &mut |_| Ok(()))
    }

    #[test]
    fn totals_count_right_well_formed_and_ungraded_lines() {
        let summary = graded(
            "{\"completion\":\"<think>a</think><answer>7</answer>\",\"solution\":7}\n\
             {\"completion\":\"<answer>8</answer>\",\"solution\":7}\n\
             {\"completion\":\"seven\",\"solution\":7}\n\
             {\"completion\":\"<answer>7.0</answer>\",\"solution\":7}\n",
            Rule::AnswerTag,
            UnparsableGolds::Refuse,
        )
        .unwrap();
        assert_eq!((summary.n, summary.correct, summary.ungraded), (4, 2, 1));
        assert_eq!((summary.accuracy, summary.format_rate), (0.5, 0.25));
    }

    #[test]
    fn a_solution_that_the_rule_cannot_read_is_refused_by_line_or_counted() {
        let text = "{\"completion\":\"<answer>7</answer>\",\"solution\":7}\n\
                    {\"completion\":\"<answer>7</answer>\",\"solution\":\"seven\"}\n";
        let error = graded(text, Rule::R1vSuperclevr, UnparsableGolds::Refuse).unwrap_err();
        assert!(error.to_string().contains("line 2: found the solution \"seven\""), "{error}");
        let summary = graded(text, Rule::R1vSuperclevr, UnparsableGolds::Count).unwrap();
        assert_eq!((summary.correct, summary.unparsable_rows), (1, vec![2]));
    }
}
