//! `R_format`: whether a completion has the asked-for form.
//! Not here: whether its answer is right (`rule`); what the form is worth.

const THINK_OPEN: &str = "<think>";
const THINK_CLOSE: &str = "</think>";
const ANSWER_OPEN: &str = "<answer>";
const ANSWER_CLOSE: &str = "</answer>";

/// Whether the whole completion is `<think>...</think>`, white space, `<answer>...</answer>`.
///
/// Exactly Python's `re.fullmatch(r"<think>.*?</think>\s*<answer>.*?</answer>", completion, re.DOTALL)`, R1-V's format
/// reward. A surprise that comes with it: under `fullmatch` the lazy `.*?` stretch as far as they must, so tags may
/// repeat inside both parts, and even several answers in a row have the form.
///
/// Linear in the length of the completion.
pub fn is_well_formed(completion: &str) -> bool {
    let Some(body) = completion.strip_prefix(THINK_OPEN) else { return false };
    let Some(body) = body.strip_suffix(ANSWER_CLOSE) else { return false };
    // Any `</think>` may be the one that ends the first part, if only an `<answer>` follows it.
    body.match_indices(THINK_CLOSE).any(|(start, tag)| {
        body[start + tag.len()..].trim_start_matches(is_python_whitespace).starts_with(ANSWER_OPEN)
    })
}

/// What `\s` matches in a Python `str` pattern: Unicode white space and the four ASCII separators,
/// which Rust does not count.
pub fn is_python_whitespace(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::path::{Path, PathBuf};

    fn golden() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn verdicts_equal_pythons_fullmatch() {
        let golden = golden();
        for (list, expected) in [("matching", true), ("other", false)] {
            for text in golden[list].as_array().unwrap() {
                let text = text.as_str().unwrap();
                assert_eq!(is_well_formed(text), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn white_space_is_what_python_matches() {
        let golden = golden();
        let expected: Vec<u64> =
            golden["whitespace"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
        let found: Vec<u64> =
            ('\0'..=char::MAX).filter(|c| is_python_whitespace(*c)).map(u64::from).collect();
        assert_eq!(found, expected);
    }

    /// The recorded outputs are not part of the repository; they lie beside it where they are present.
    #[test]
    #[expect(clippy::print_stderr, reason = "says why nothing was checked")]
    fn verdicts_equal_those_recorded_for_real_outputs() {
        let shared = std::env::var_os("OTHINK_SHARED").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
            PathBuf::from,
        );
        let mut n_checked = 0;
        for name in ["grading_superclevr_2b_instruct.jsonl", "grading_geoqa_7b_instruct.jsonl"] {
            let path = shared.join("data/r1v").join(name);
            let Ok(lines) = std::fs::read_to_string(&path) else {
                eprintln!("skipped: {} is absent, OTHINK_SHARED names its root", path.display());
                continue;
            };
            for line in lines.lines() {
                let row: Value = serde_json::from_str(line).unwrap();
                let expected = row["ref_format"].as_f64().unwrap() > 0.5;
                let completion = row["completion"].as_str().unwrap();
                assert_eq!(is_well_formed(completion), expected, "{completion:?}");
                n_checked += 1;
            }
        }
        assert!([0, 200, 754, 954].contains(&n_checked), "{n_checked} lines");
    }

    proptest! {
        #[test]
        fn anything_between_the_tags_is_well_formed(thought in ".*", space in "[ \t\n]*", answer in ".*") {
            let text = format!("<think>{thought}</think>{space}<answer>{answer}</answer>");
            prop_assert!(is_well_formed(&text));
            let trailing = format!("{text}.");
            prop_assert!(!is_well_formed(&trailing));
        }
    }
}
