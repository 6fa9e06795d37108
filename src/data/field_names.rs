//! Which field of a row holds what: the known names, or the one that the run file gives in their place.
//! Not here: what may stand in a field (`listed`), the other fields (`remarks`, `picture_like`).

use super::row::Fields;
use crate::config::DataFields;
use serde_json::Value;
use std::sync::Arc;

/// The names of fields that hold the right answer.
pub(super) const SOLUTION: [&str; 3] = ["solution", "ground_truth", "answer"];

const IMAGE: [&str; 4] = ["image_path", "image", "images", "file_name"];
const PROBLEM: [&str; 3] = ["problem", "question", "prompt"];
const COMPLETION: [&str; 1] = ["completion"];
const REASONING: [&str; 2] = ["thinking", "reasoning"];

/// Names of fields that hold one thing; the first that is in a row and not null is read.
pub(super) type Names = Vec<Arc<str>>;

/// The names of a data set's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldNames {
    /// Pictures.
    pub(super) image: Names,
    /// The question.
    pub(super) problem: Names,
    /// The right answer.
    pub(super) solution: Names,
    /// What is taught as it stands.
    pub(super) completion: Names,
    /// What is taught before the answer.
    pub(super) reasoning: Names,
}

impl FieldNames {
    /// A name that is given takes the place of all known ones for that thing.
    pub(super) fn new(given: &DataFields) -> Self {
        let names = |given: &Option<String>, known: &[&str]| match given {
            Some(name) => vec![name.as_str().into()],
            None => known.iter().map(|name| (*name).into()).collect(),
        };
        Self {
            image: names(&given.image, &IMAGE),
            problem: names(&given.problem, &PROBLEM),
            solution: names(&given.solution, &SOLUTION),
            completion: names(&given.completion, &COMPLETION),
            reasoning: names(&given.reasoning, &REASONING),
        }
    }

    /// Every name that is read.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        let Self { image, problem, solution, completion, reasoning } = self;
        let all = image.iter().chain(problem).chain(solution).chain(completion).chain(reasoning);
        all.map(AsRef::as_ref)
    }

    /// Fields of a row that hold the same thing as the one that is read, and something else: the one that is read, and the
    /// one that is not.
    pub(super) fn doubled<'row>(&self, fields: &'row Fields) -> Vec<(&'row str, &'row str)> {
        let taught: Names = self.completion.iter().chain(&self.reasoning).cloned().collect();
        let things = [&self.image, &self.problem, &self.solution, &taught];
        let mut found = Vec::new();
        for names in things {
            let mut held = names.iter().filter_map(|name| fields.get_key_value(name.as_ref()));
            let Some((read, value)) = held.find(|(_, value)| !value.is_null()) else { continue };
            let others = held.filter(|(_, other)| !other.is_null() && is_other(value, other));
            found.extend(others.map(|(name, _)| (read.as_str(), name.as_str())));
        }
        found
    }
}

/// Whether two values are read as different things: a number and its digits, or a path and a list of it, are not.
fn is_other(read: &Value, other: &Value) -> bool {
    let spelled = |value: &Value| match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(only)] => only.trim().to_owned(),
            _ => value.to_string(),
        },
        other => other.to_string(),
    };
    spelled(read) != spelled(other)
}

/// Names for a message: `` `problem`, `question` or `prompt` ``.
pub(super) fn spelled(names: &[Arc<str>]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_name_that_is_given_takes_the_place_of_all_known_ones() {
        let given = DataFields { problem: Some("asked".to_owned()), ..DataFields::default() };
        let names = FieldNames::new(&given);
        assert_eq!(names.problem, ["asked".into()]);
        assert_eq!(names.solution.len(), SOLUTION.len());
        assert!(names.all().all(|name| name != "question") && names.all().count() == 11);
    }

    #[test]
    fn fields_for_the_same_thing_are_named_where_they_say_something_else() {
        let names = FieldNames::new(&DataFields::default());
        let row = fields(&json!({
            "problem": "a?", "question": "b?", "prompt": null, "solution": 7, "answer": "7",
            "image": "a.png", "images": ["a.png"], "completion": "x", "thinking": "y"
        }));
        assert_eq!(names.doubled(&row), [("problem", "question"), ("completion", "thinking")]);
    }

    #[test]
    fn names_are_spelled_as_a_choice() {
        let of =
            |names: &[&str]| spelled(&names.iter().map(|name| (*name).into()).collect::<Names>());
        assert_eq!([of(&["a"]), of(&["a", "b", "c"])], ["`a`", "`a`, `b` or `c`"]);
    }
}
