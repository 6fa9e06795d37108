//! "Did you mean": the known word nearest to a mistyped one.

/// The candidate that takes the fewest single-letter edits, if that is at most a third of the
/// word's letters (and at least one is always allowed).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance in characters: one row of the usual table at a time.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (left_idx, left_char) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = left_idx + 1;
        for (right_idx, right_char) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(left_char != *right_char);
            diagonal = row[right_idx + 1];
            row[right_idx + 1] = substituted.min(diagonal + 1).min(row[right_idx] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_letter_edits() {
        assert_eq!(edit_distance("kitten", "sitting"), 3); // k-s, e-i, +g
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", ""), 3);
        assert_eq!(edit_distance("größe", "große"), 1);
        assert_eq!(edit_distance("same", "same"), 0);
    }

    #[test]
    fn nearest_word_is_found_and_a_far_one_is_not() {
        let keys = ["group_size", "clip_low", "clip_high"];
        assert_eq!(nearest("groupsize", keys), Some("group_size"));
        assert_eq!(nearest("clip_hihg", keys), Some("clip_high"));
        assert_eq!(nearest("temperature", keys), None);
        assert_eq!(nearest("lr", ["lr2", "xyz"]), Some("lr2"));
    }
}
