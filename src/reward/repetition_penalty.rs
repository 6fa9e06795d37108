//! `repetition_penalty`: what repeated n-grams cost.
//! Not here: the sampler's own penalty, which changes what is sampled (`rollout::sampler`).

use std::collections::{HashMap, HashSet};

use super::component::Component;
use super::grading::format::is_python_whitespace;

/// The component.
pub static REPETITION_PENALTY: Component = Component {
    name: "repetition_penalty",
    gold: None,
    score: |scoring| repetition_penalty(scoring.completion.text, scoring.settings.repetition_ngram),
    formula: "`-(1 - unique n-grams / n-grams)` over words in lower case",
    range: "-1 to 0",
    source: "Yeo et al. 2025, appendix C.2; open-r1",
};

/// The fraction of a completion's n-grams that repeat another, as a penalty:
///
/// `R_repetition = -(1 - unique n-grams / n-grams)`
///
/// - `ngram`: words in an n-gram, at least 1; 3 is usual
/// - returns a number above -1, at most 0; 0 where the completion has fewer words than an n-gram
///
/// Yeo et al. 2025 ("Demystifying long chain-of-thought reasoning", appendix C.2), in the form of open-r1's
/// `get_repetition_penalty_reward` with a `max_penalty` of -1, which the weight replaces here: words are
/// separated by white space and in lower case. Texts without spaces, such as Chinese, are hardly penalised. Takes time
/// linear in the length of the completion.
pub fn repetition_penalty(completion: &str, ngram: usize) -> f64 {
    let mut ids: HashMap<String, usize> = HashMap::new();
    let words: Vec<usize> = completion
        .split(is_python_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| {
            let next = ids.len();
            *ids.entry(word.to_lowercase()).or_insert(next)
        })
        .collect();
    let ngram = ngram.max(1);
    if words.len() < ngram {
        return 0.0;
    }
    let unique: HashSet<&[usize]> = words.windows(ngram).collect();
    let n_ngrams = words.len() - ngram + 1;
    // Counted from the repeated ones, so that none of them gives 0 and not -0.
    let n_repeated = n_ngrams - unique.len();
    if n_repeated == 0 { 0.0 } else { -(n_repeated as f64 / n_ngrams as f64) }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exactly representable")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn penalty_is_the_share_of_repeated_ngrams() {
        // 4 trigrams of 6 equal words, 1 of them unique: 1 - 1/4.
        assert_eq!(repetition_penalty("a a a a a a", 3), -0.75);
        // "a b c", "b c a", "c a b", "a b c": 3 of 4 unique.
        assert_eq!(repetition_penalty("a b c a b c", 3), -0.25);
        assert_eq!(repetition_penalty("a b c d e f", 3), 0.0);
        // As bigrams: ab bc ca ab bc, 3 of 5 unique.
        assert!((repetition_penalty("a b c a b c", 2) + 0.4).abs() < 1e-15);
    }

    #[test]
    fn case_and_kind_of_white_space_do_not_hide_a_repetition() {
        assert_eq!(repetition_penalty("So it is\nSO  It\tIS", 3), -0.25);
    }

    #[test]
    fn completion_shorter_than_an_ngram_costs_nothing() {
        for text in ["", "  ", "a", "a a"] {
            assert_eq!(repetition_penalty(text, 3), 0.0, "{text:?}");
        }
        assert_eq!(repetition_penalty("a a a", 3), 0.0, "one trigram repeats none");
    }

    #[test]
    fn sign_of_nothing_is_positive() {
        assert!(repetition_penalty("a b c d", 3).is_sign_positive());
    }

    proptest! {
        #[test]
        fn penalty_stays_in_its_range(text in "[ab ]{0,60}", ngram in 1usize..5) {
            let penalty = repetition_penalty(&text, ngram);
            prop_assert!(penalty > -1.0 && penalty <= 0.0);
        }

        #[test]
        fn saying_everything_twice_costs_nearly_half(n_words in 10usize..40) {
            let words: Vec<String> = (0..n_words).map(|idx| format!("word{idx}")).collect();
            let twice = [words.join(" "), words.join(" ")].join(" ");
            // 2n - 2 trigrams, of which n - 2 repeat.
            let expected = -((n_words - 2) as f64) / (2 * n_words - 2) as f64;
            prop_assert!((repetition_penalty(&twice, 3) - expected).abs() < 1e-12);
        }
    }
}
