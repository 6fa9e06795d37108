//! Rows that hold a conversation, as `LLaVA` (`conversations`) and chat formats (`messages`, or a list as `prompt`) have
//! them: recognised, and turned into rows of a question and its answer.
//!
//! The first turn of a user becomes the question, without `<image>`, and the turn that answers it the solution; a row
//! without such a turn keeps the solution that it has. Pictures that a turn names join those of the row.
//!
//! Not here: what the fields of other rows mean (`listed`).

use super::DataError;
use super::field_names::SOLUTION;
use super::json_lines::JsonLines;
use super::row::{Fields, Place, Row};
use serde_json::Value;
use std::path::Path;

/// Where the picture stands in a turn's text.
const PLACEHOLDER: &str = "<image>";

/// Refuses a row that holds a conversation.
///
/// # Errors
/// It does; the error says how it becomes a row that can be read.
pub(super) fn refuse_in(fields: &Fields, place: &Place) -> Result<(), DataError> {
    let Some((field, _)) = conversation_in(fields) else { return Ok(()) };
    let hint = format!(
        "`othink data {} --convert rows.jsonl` writes each row's first question and its answer",
        place.path.display()
    );
    Err(place.bad_field(field, "a conversation", "a question and its answer in fields", hint))
}

/// What was written, and what of the rows was left out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Conversion {
    /// Rows that were written.
    pub rows: usize,
    /// Rows among them that were a conversation.
    pub converted: usize,
    /// Conversations that go on after the first answer; what comes later is left out.
    pub longer: usize,
    /// Conversations with a system message, which is left out.
    pub system: usize,
}

/// The rows of a JSON file as JSON lines, each conversation as a question and its answer.
///
/// # Errors
/// The file cannot be read; a row is broken, or a conversation without a question in text or without an answer.
pub fn convert(path: &Path) -> Result<(String, Conversion), DataError> {
    let (mut lines, mut conversion) = (String::new(), Conversion::default());
    for row in JsonLines::open(path)? {
        let Row { place, fields } = row?;
        let line = match conversation_in(&fields) {
            None => fields,
            Some((field, turns)) => {
                conversion.converted += 1;
                question_and_answer(&fields, (field, &turns), &place, &mut conversion)?
            }
        };
        lines.push_str(&Value::Object(line).to_string());
        lines.push('\n');
        conversion.rows += 1;
    }
    Ok((lines, conversion))
}

/// What someone says in a conversation.
struct Turn {
    speaker: Speaker,
    text: String,
    images: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
}

/// The field of a row that holds a conversation, and its turns.
fn conversation_in(fields: &Fields) -> Option<(&str, Vec<Turn>)> {
    ["conversations", "messages", "prompt"].into_iter().find_map(|name| {
        let (name, value) = fields.get_key_value(name)?;
        let turns: Option<Vec<Turn>> = value.as_array()?.iter().map(turn).collect();
        turns.filter(|turns| !turns.is_empty()).map(|turns| (name.as_str(), turns))
    })
}

/// `LLaVA` writes `from` and `value`, chats `role` and `content`.
fn turn(value: &Value) -> Option<Turn> {
    let speaker = value.get("role").or_else(|| value.get("from"))?.as_str()?;
    let speaker = match speaker {
        "system" => Speaker::System,
        "user" | "human" => Speaker::User,
        "assistant" | "gpt" | "model" => Speaker::Assistant,
        _ => return None,
    };
    let (mut text, mut images) = (String::new(), Vec::new());
    match value.get("content").or_else(|| value.get("value"))? {
        Value::String(whole) => text.push_str(whole),
        Value::Array(parts) => {
            for part in parts {
                if let Some(words) = part.get("text").and_then(Value::as_str) {
                    text.push_str(words);
                }
                let image = ["image", "path", "url"].iter().find_map(|name| part.get(*name));
                images.extend(image.filter(|image| image.is_string()).cloned());
            }
        }
        _ => return None,
    }
    Some(Turn { speaker, text: text.replace(PLACEHOLDER, "").trim().to_owned(), images })
}

/// The row with its first question and that one's answer in the place of the conversation.
fn question_and_answer(
    fields: &Fields,
    (field, turns): (&str, &[Turn]),
    place: &Place,
    conversion: &mut Conversion,
) -> Result<Fields, DataError> {
    let refused = |expected: &'static str| {
        let hint = "take the row out, or write its question and answer yourself";
        Err(place.bad_field(field, "a conversation without it", expected, hint))
    };
    let mut numbered = turns.iter().enumerate();
    let Some((asked, question)) = numbered.find(|(_, turn)| turn.speaker == Speaker::User) else {
        return refused("a turn of a user");
    };
    if question.text.is_empty() {
        return refused("a question in text");
    }
    let answer = turns.get(asked + 1).filter(|turn| turn.speaker == Speaker::Assistant);
    let mut row: Fields = fields.clone();
    row.remove(field);
    row.insert("problem".to_owned(), Value::String(question.text.clone()));
    let has_own = SOLUTION.iter().any(|name| fields.contains_key(*name));
    match answer {
        Some(answer) if !has_own => {
            row.insert("solution".to_owned(), Value::String(answer.text.clone()));
        }
        None if !has_own => return refused("an answer to the first question"),
        Some(_) | None => {}
    }
    if !question.images.is_empty() {
        row.insert("images".to_owned(), Value::Array(question.images.clone()));
    }
    conversion.longer += usize::from(turns.len() > asked + 2);
    conversion.system += usize::from(turns.iter().any(|turn| turn.speaker == Speaker::System));
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn converted(rows: &str) -> Result<(Vec<Value>, Conversion), DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        std::fs::write(&path, rows).unwrap();
        let (text, conversion) = convert(&path)?;
        Ok((text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), conversion))
    }

    #[test]
    fn every_form_of_conversation_becomes_a_question_and_its_answer() {
        let llava = json!([{"id": "a", "image": "a.png", "conversations": [
            {"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "7"},
            {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]}]);
        let chat = json!({"images": ["b.png"], "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>How many?"},
            {"role": "assistant", "content": "3"}]});
        let parts = json!({"answer": 9, "prompt": [{"role": "user", "content": [
            {"type": "image", "image": "c.png"}, {"type": "text", "text": "How many?"}]}]});
        let asked = |more: Value| {
            let mut row = json!({"problem": "How many?"});
            row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            row
        };
        for (rows, expected, longer, system) in [
            (llava, json!({"id": "a", "image": "a.png", "solution": "7"}), 1, 0),
            (chat, json!({"images": ["b.png"], "solution": "3"}), 0, 1),
            (parts, json!({"answer": 9, "images": ["c.png"]}), 0, 0),
        ] {
            let (rows, conversion) = converted(&rows.to_string()).unwrap();
            assert_eq!(rows, [asked(expected)]);
            assert_eq!(conversion, Conversion { rows: 1, converted: 1, longer, system });
        }
    }

    #[test]
    fn a_conversation_without_an_answer_is_refused_and_other_rows_stay() {
        let plain = json!({"problem": "?", "solution": 1});
        assert_eq!(converted(&plain.to_string()).unwrap().0, std::slice::from_ref(&plain));
        let open = json!({"messages": [{"role": "user", "content": "How many?"}]});
        let error = converted(&format!("{plain}\n{open}")).unwrap_err().to_string();
        assert!(
            error.contains("line 2: field `messages`: found a conversation without"),
            "{error}"
        );
    }
}
