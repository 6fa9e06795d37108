//! Several answers to one question: the chance that one of k is right, and the majority's answer.
//! Not here: sampling them (`ask`), the means over questions (`summary`).

use crate::reward::grading::answer::{compare, read};

/// The unbiased estimate of pass@k (Chen et al. 2021, "Evaluating large language models trained on code", Eq. 1):
/// the chance that at least one of `k` answers is right, drawn without replacement from `n` of which `correct` are.
///
/// `k` is at most `n`.
pub fn pass_at(k: usize, n: usize, correct: usize) -> f64 {
    if n - correct < k {
        return 1.0;
    }
    // 1 - C(n - correct, k) / C(n, k), as a product that cannot overflow.
    1.0 - (n - correct + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

/// The answer that most of the given ones agree with, as an index; the first of them on a tie, none where there is no
/// answer at all. Answers agree when `answer-tag` finds them equal: `1/2` and `0.5` vote together.
pub fn majority(answers: &[Option<&str>]) -> Option<usize> {
    let read: Vec<_> = answers.iter().map(|answer| answer.map(read)).collect();
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    for (idx, answer) in read.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let agrees = |first: usize| {
            read[first].as_ref().is_some_and(|first| compare(answer, first).is_equal())
        };
        match blocks.iter_mut().find(|(first, _)| agrees(*first)) {
            Some((_, votes)) => *votes += 1,
            None => blocks.push((idx, 1)),
        }
    }
    let most = blocks.iter().map(|(_, votes)| *votes).max()?;
    blocks.iter().find(|(_, votes)| *votes == most).map(|(first, _)| *first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_is_the_share_of_draws_with_a_right_answer() {
        // Of C(4, 2) = 6 pairs out of {right, wrong, wrong, wrong}, 3 hold the right one.
        assert!((pass_at(2, 4, 1) - 0.5).abs() < 1e-12);
        // C(5, 3) = 10 triples; only C(3, 3) = 1 avoids both right ones.
        assert!((pass_at(3, 5, 2) - 0.9).abs() < 1e-12);
        assert!((pass_at(1, 8, 3) - 0.375).abs() < 1e-12);
        assert!((pass_at(4, 4, 0)).abs() < 1e-12);
        assert!((pass_at(2, 4, 3) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn equal_answers_vote_together_and_the_first_wins_a_tie() {
        assert_eq!(majority(&[Some("7"), Some("1/2"), None, Some("0.5")]), Some(1));
        assert_eq!(majority(&[None, Some("3"), Some("4")]), Some(1));
        assert_eq!(majority(&[Some("3"), Some("4"), Some("4.0"), Some("3")]), Some(0));
        assert_eq!(majority(&[None, None]), None);
        assert_eq!(majority(&[]), None);
    }
}
