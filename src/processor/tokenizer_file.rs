//! What a `tokenizer.json` may not ask for, checked before the tokenizer library reads it.
//! Not here: reading it (`text`).
//!
//! 1. Dropout of merges, which draws the tokens of a text anew each time: no run could be repeated or resumed. It is refused
//!    rather than ignored, because prompts would then differ from those of whoever made the file.
//! 2. A marker that is no special token: the library could not be told to take it for text where it stands in data.
//! 3. A replacement of nothing: the library (tokenizers 0.23) indexes past the end of the text where a pattern matches
//!    without taking a letter.

use serde_json::Value;
use tokenizers::utils::SysRegex;

use super::{MARKERS, PADS, ProcessorError};

/// Refuses a tokenizer that draws at random, whose markers are ordinary tokens, or whose patterns match nothing at all.
///
/// # Errors
/// The text is not JSON, or asks for one of these.
pub(super) fn check(text: &str, file: &str) -> Result<(), ProcessorError> {
    let root: Value = serde_json::from_str(text)
        .map_err(|source| ProcessorError::Json { file: file.to_owned(), source })?;
    let wrong = |field, found: &Value, expected: &str| ProcessorError::Field {
        file: file.to_owned(),
        field,
        found: found.to_string(),
        expected: expected.to_owned(),
    };
    let dropout = &root["model"]["dropout"];
    if !dropout.is_null() && dropout.as_f64() != Some(0.0) {
        let expected = "null: prompts are made of the same tokens every time\n\
                        hint: set it to null; the tokens stay those that the model knows";
        return Err(wrong("model.dropout", dropout, expected));
    }
    let added = root["added_tokens"].as_array().into_iter().flatten();
    let is_marker =
        |token: &&Value| PADS.iter().chain(&MARKERS).any(|marker| token["content"] == **marker);
    if let Some(ordinary) = added.filter(is_marker).find(|token| token["special"] != true) {
        let expected = "special: true, or data could not be told from the chat's own markers";
        return Err(wrong("added_tokens", ordinary, expected));
    }
    let parts = ["normalizer", "pre_tokenizer", "decoder"].map(|part| &root[part]);
    match parts.into_iter().find_map(empty_replacement) {
        None => Ok(()),
        Some(pattern) => {
            Err(wrong("the pattern of a Replace", pattern, "one that matches a letter at least"))
        }
    }
}

/// The first pattern of a `Replace`, however deep, that matches without taking a letter.
fn empty_replacement(part: &Value) -> Option<&Value> {
    match part {
        Value::Array(parts) => parts.iter().find_map(empty_replacement),
        Value::Object(fields) => {
            let pattern = fields.get("pattern").filter(|_| part["type"] == "Replace");
            let own = pattern.filter(|pattern| matches_nothing(pattern));
            own.or_else(|| fields.values().find_map(empty_replacement))
        }
        _ => None,
    }
}

/// Whether a pattern matches between the letters of a text that has every ASCII character. What does not compile is left
/// to the library, which names it.
fn matches_nothing(pattern: &Value) -> bool {
    if let Some(text) = pattern["String"].as_str() {
        return text.is_empty();
    }
    let Some(Ok(regex)) = pattern["Regex"].as_str().map(SysRegex::new) else { return false };
    let every_letter: String = ('\0'..='\x7f').collect();
    ["", &every_letter].iter().any(|text| regex.find_iter(text).any(|(start, end)| start == end))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(tokenizer: &Value) -> Option<String> {
        check(&tokenizer.to_string(), "t.json").err().map(|error| error.to_string())
    }

    #[test]
    fn patterns_that_match_between_letters_are_refused_however_deep() {
        for pattern in [json!({"String": ""}), json!({"Regex": "x*"}), json!({"Regex": "(?=b)"})] {
            let replace = json!({"type": "Replace", "pattern": pattern, "content": "x"});
            let nested = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, replace]});
            for normalizer in [&replace, &nested] {
                let message = refusal(&json!({ "normalizer": normalizer })).unwrap();
                assert!(message.starts_with("t.json: the pattern of a Replace is {"), "{message}");
            }
        }
        let usual = json!({"type": "Replace", "pattern": {"Regex": " +"}, "content": "_"});
        assert_eq!(refusal(&json!({ "normalizer": usual })), None);
    }

    #[test]
    fn markers_are_special_tokens() {
        let added = |special| {
            json!({"added_tokens": [{"content": "<tool>", "special": false},
                                    {"content": "<|im_end|>", "special": special}]})
        };
        assert_eq!(refusal(&added(true)), None);
        let message = refusal(&added(false)).unwrap();
        assert!(
            message.starts_with("t.json: added_tokens is {\"content\":\"<|im_end|>\""),
            "{message}"
        );
    }

    #[test]
    fn dropout_is_refused_and_none_or_zero_is_not() {
        for allowed in [json!(null), json!(0.0), json!(0)] {
            assert_eq!(refusal(&json!({"model": {"dropout": allowed}})), None);
        }
        let message = refusal(&json!({"model": {"dropout": 0.1}})).unwrap();
        assert!(message.starts_with("t.json: model.dropout is 0.1, expected null: "), "{message}");
        assert!(message.contains("\nhint: "), "{message}");
    }
}
