//! An accuracy over several seeds: its mean and the 95% interval.
//! Not here: the figure itself (`eval`).

use std::path::PathBuf;

use serde::Serialize;

use super::runs::Measurement;
use crate::eval::{Summary, accuracy_over_seeds};

/// An accuracy over the runs of one configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OverSeeds {
    /// The seeds; empty for a model that was not trained.
    pub seeds: Vec<u64>,
    /// The accuracy of each.
    pub accuracies: Vec<f64>,
    /// Their mean.
    pub accuracy: f64,
    /// The accuracy's 95% interval: Student's t over two or more seeds, else Wilson's over the questions.
    pub ci95: [f64; 2],
    /// The mean by `answer-tag`.
    pub answer_tag: f64,
    /// The mean fraction of completions that have the asked-for form.
    pub format_rate: f64,
    /// Questions asked of each.
    pub n: usize,
    /// The files of each one's answers, in the order of the seeds: what `eval --against` takes.
    pub answers: Vec<PathBuf>,
}

impl OverSeeds {
    /// - `measured`: one measurement per seed, at least one
    pub fn new(seeds: Vec<u64>, measured: &[Measurement]) -> Self {
        let summaries: Vec<&Summary> = measured.iter().map(|one| &one.summary).collect();
        let mean = |of: &dyn Fn(&Summary) -> f64| {
            summaries.iter().map(|summary| of(summary)).sum::<f64>() / measured.len().max(1) as f64
        };
        let (accuracy, ci95) = accuracy_over_seeds(&summaries);
        Self {
            seeds,
            accuracy,
            ci95,
            answer_tag: mean(&|summary| summary.answer_tag.accuracy),
            format_rate: mean(&|summary| summary.format_rate),
            n: summaries.first().map_or(0, |summary| summary.n),
            accuracies: summaries.iter().map(|summary| summary.accuracy).collect(),
            answers: measured.iter().map(|one| one.answers.clone()).collect(),
        }
    }
}

/// The relative gain over another accuracy as the paper has it, `(a - b) / b`; none over 0.
pub fn relative_gain(accuracy: f64, over: f64) -> Option<f64> {
    (over > 0.0).then(|| (accuracy - over) / over)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Tally;
    use crate::eval::summary::test_summary;

    #[test]
    fn one_seed_has_the_interval_of_its_questions_and_several_that_of_their_mean() {
        let measured = |correct| Measurement {
            summary: test_summary(correct, 200),
            answers: PathBuf::from(correct.to_string()),
        };
        let one = OverSeeds::new(vec![1], &[measured(100)]);
        assert_eq!((one.accuracy, one.ci95), (0.5, Tally::new(100, 200).ci95));
        let three = OverSeeds::new(vec![1, 2, 3], &[80, 100, 120].map(measured));
        assert_eq!(three.answers, ["80", "100", "120"].map(PathBuf::from));
        // 0.5 -+ 4.302653 * 0.1 / sqrt(3)
        assert!((three.accuracy - 0.5).abs() < 1e-12);
        assert!((three.ci95[0] - 0.251_586).abs() < 1e-5, "{:?}", three.ci95);
    }

    /// The paper's Table 1: GRPO-D 76.50% and GRPO 64.50% on VC are "+18.60%".
    #[test]
    fn gains_are_relative_as_in_the_paper() {
        assert!((relative_gain(0.765, 0.645).unwrap() - 0.186).abs() < 1e-4);
        assert_eq!(relative_gain(0.5, 0.0), None);
    }
}
