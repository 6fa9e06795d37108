//! Where the answer stands in a completion: in the last `<answer>` that is closed.
//! Not here: what the answer means (`read`).

/// The trimmed contents of the last `<answer>` that is closed, up to the first `</answer>` after it. Of nested tags
/// that is the innermost; an `<answer>` that the token limit cut off does not hide one before it.
pub fn last_answer(text: &str) -> Option<&str> {
    let (before, _) = text.rsplit_once("</answer>")?;
    let (_, contents) = before.rsplit_once("<answer>")?;
    // Of `<answer>5</answer></answer>` the first close ends the answer.
    let contents = contents.split_once("</answer>").map_or(contents, |(first, _)| first);
    Some(contents.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_the_contents_of_the_last_closed_tag() {
        for (text, expected) in [
            ("<answer>4</answer><answer>5</answer>", Some("5")),
            ("<answer>4</answer> then <answer>5", Some("4")),
            ("<answer><answer>5</answer></answer>", Some("5")),
            ("<answer>5</answer></answer>", Some("5")),
            ("<answer>\n 5 \n</answer>.", Some("5")),
            ("<answer></answer>", Some("")),
            ("</answer>5<answer>", None),
            ("<answer>5", None),
            ("5", None),
            ("", None),
        ] {
            assert_eq!(last_answer(text), expected, "{text:?}");
        }
    }
}
