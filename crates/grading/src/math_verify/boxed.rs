//! What stands in the boxes of a text, as math-verify takes it out (`extract_boxed_content` of `latex2sympy2_extended`).
//! Not here: everything else that is done to LaTeX before it is parsed (`normalize`).

use crate::format::is_python_whitespace;

/// Which boxes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boxes {
    /// All of them, joined by commas.
    All,
    /// The last, with those before it that stand close enough to be parts of one answer.
    Last,
}

/// The contents of the boxes, or the whole text if there is none.
pub(super) fn contents(text: &str, boxes: Boxes) -> String {
    let mut found: Vec<&str> = Vec::new();
    let mut limit = text.len();
    let mut is_first = true;
    for (start, command) in commands(text).into_iter().rev() {
        let after = &text[start + command.len()..];
        let open = after.trim_start_matches(is_python_whitespace);
        let open_at = text.len() - open.len();
        if open_at >= limit {
            break;
        }
        let close =
            if open.starts_with('{') { matching_brace(&text[open_at..limit]) } else { None };
        let Some(close) = close else {
            // A box that is not closed reaches to the end, but only if it is the last.
            if found.is_empty() {
                found.push(open);
            }
            break;
        };
        let content = open[1..close].trim_matches(is_python_whitespace);
        let between = &text[open_at + close + 1..limit];
        if boxes == Boxes::Last && !is_first && !is_continued(between, content, found.last()) {
            break;
        }
        if found.last() != Some(&content) {
            found.push(content);
        }
        is_first = false;
        limit = start;
    }
    if found.is_empty() {
        return text.to_owned();
    }
    found.reverse();
    found.join(",")
}

/// Where the commands stand, from left to right.
fn commands(text: &str) -> Vec<(usize, &'static str)> {
    let named = |start: usize| {
        let command =
            ["\\boxed", "\\fbox"].into_iter().find(|name| text[start..].starts_with(name));
        command.map(|command| (start, command))
    };
    text.match_indices('\\').filter_map(|(start, _)| named(start)).collect()
}

/// The offset of the brace that closes the one `text` begins with.
fn matching_brace(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Whether a box belongs with the one after it: near it, or further off but joined by a comma, "and" or "or".
fn is_continued(between: &str, content: &str, next: Option<&&str>) -> bool {
    let length = between.chars().take(70).count();
    length < 10 || (length < 70 && next != Some(&content) && has_separator(between))
}

fn has_separator(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.contains([',', ';'])
        || text.split(|c| !is_word(c)).any(|word| word == "and" || word == "or")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_box_counts_with_its_neighbours() {
        let text = r"First \boxed{1}. After a long argument nobody reads: \boxed{2} and \boxed{3}.";
        assert_eq!(contents(text, Boxes::Last), "2,3");
        assert_eq!(contents(text, Boxes::All), "1,2,3");
    }

    #[test]
    fn braces_nest_and_may_be_missing() {
        assert_eq!(contents(r"\boxed{\frac{1}{2}}", Boxes::All), r"\frac{1}{2}");
        assert_eq!(contents(r"\boxed{12", Boxes::All), "{12");
        assert_eq!(contents(r"\boxed 12", Boxes::All), "12");
        assert_eq!(contents("12", Boxes::All), "12");
    }
}
