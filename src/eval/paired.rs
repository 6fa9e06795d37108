//! Two models on the same questions: `McNemar`'s exact test and the interval of the difference.
//! Not here: which answers are right (`reward`), asking (`ask`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::answer::Answer;

/// The comparison of two models' answers to the same questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairedComparison {
    /// Questions that both answered.
    pub n: usize,
    /// Questions that both answered right.
    pub both_correct: usize,
    /// Questions that only the first answered right.
    pub only_first: usize,
    /// Questions that only the second answered right.
    pub only_second: usize,
    /// The first's accuracy less the second's.
    pub difference: f64,
    /// Its 95% interval: Agresti and Min (2005), half a question added to each of the four counts.
    pub ci95: [f64; 2],
    /// `McNemar`'s exact two-sided p-value: of the questions that only one model answered right, the probability of a
    /// split at least as uneven if both models were equally good.
    pub p_value: f64,
}

/// Compares the answers of two models, question by question; the same question has the same identifier, text and
/// solution, and only the first answer to each counts.
pub fn compare(first: &[Answer], second: &[Answer]) -> PairedComparison {
    let second = by_question(second);
    let mut counts = [[0_usize; 2]; 2];
    for (question, first) in by_question(first) {
        if let Some(&second) = second.get(&question) {
            counts[usize::from(first)][usize::from(second)] += 1;
        }
    }
    from_counts(counts)
}

/// Whether each question was answered right, by identifier, text and solution.
fn by_question(answers: &[Answer]) -> BTreeMap<[&str; 3], bool> {
    let firsts = answers.iter().filter(|answer| answer.sample_idx == 0);
    let named = firsts.map(|answer| {
        let Answer { id, problem, solution, .. } = answer;
        ([id, problem, solution].map(String::as_str), answer.is_correct())
    });
    named.collect()
}

/// `counts[first is right][second is right]`.
fn from_counts(counts: [[usize; 2]; 2]) -> PairedComparison {
    let [[neither, only_second], [only_first, both]] = counts;
    let n = neither + only_second + only_first + both;
    let difference = (only_first as f64 - only_second as f64) / n.max(1) as f64;
    PairedComparison {
        n,
        both_correct: both,
        only_first,
        only_second,
        difference,
        ci95: difference_ci95(n, only_first, only_second),
        p_value: mcnemar(only_first, only_second),
    }
}

fn difference_ci95(n: usize, only_first: usize, only_second: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    let (n, b, c) = (n as f64 + 2.0, only_first as f64 + 0.5, only_second as f64 + 0.5);
    let difference = (b - c) / n;
    let half = Z * ((b + c) - (b - c).powi(2) / n).sqrt() / n;
    [(difference - half).max(-1.0), (difference + half).min(1.0)]
}

/// Twice the lower tail of the binomial distribution of `b + c` fair coins at the smaller count, at most 1.
fn mcnemar(b: usize, c: usize) -> f64 {
    let (n, least) = (b + c, b.min(c));
    // ln C(n, k) + n ln 1/2, from k to k + 1.
    let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=least {
        tail += ln_term.exp();
        ln_term += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.binomtest(min(b, c), b + c).pvalue` of `SciPy` 1.17.1.
    #[test]
    fn p_values_equal_scipys() {
        let cases = [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (6, 1, 0.125),
            (3, 12, 0.035_156_25),
            (40, 20, 0.013_489_293_7),
            (150, 90, 0.000_129_876_7),
            (5, 5, 1.0),
        ];
        for (b, c, expected) in cases {
            assert!((mcnemar(b, c) - expected).abs() < 1e-9, "{b} {c}: {}", mcnemar(b, c));
        }
    }

    #[test]
    fn difference_counts_only_questions_that_one_model_answered_right() {
        let comparison = from_counts([[50, 10], [30, 110]]);
        assert_eq!((comparison.n, comparison.both_correct), (200, 110));
        assert!((comparison.difference - 0.1).abs() < 1e-12);
        // (30.5 - 10.5) / 202 -+ 1.959964 sqrt(41 - 20^2 / 202) / 202
        let [low, high] = comparison.ci95;
        assert!(
            (low - 0.038_400_6).abs() < 1e-7 && (high - 0.159_619_2).abs() < 1e-7,
            "{low} {high}"
        );
    }
}
