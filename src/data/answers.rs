//! Completions listed in a file, one JSON object a line, to be graded.
//!
//! | holds | field, the first that is there | may be |
//! |---|---|---|
//! | the completion | `completion` | text |
//! | the answer | `solution`, `ground_truth` | text or a number |
//!
//! Other fields are kept. A run's `completions.jsonl` and the answers that `eval` writes load as they are.
//!
//! Not here: the file's form (`json_lines`); grading (`reward`).

use super::DataError;
use super::json_lines::JsonLines;
use super::listed::solution_among;
use super::row::{Fields, Place, Row, kind};
use serde_json::Value;
use std::path::Path;

/// The names of the field that holds the right answer: `answer` is not among them, as it is what a model said.
const SOLUTION: [&str; 2] = ["solution", "ground_truth"];

/// A completion and the right answer that it is compared with.
#[derive(Clone, Debug)]
pub struct ListedCompletion {
    /// The line, from 1.
    pub row: usize,
    /// Every field of the row.
    pub fields: Fields,
    /// What a model said.
    pub completion: String,
    /// The right answer as the data has it.
    pub solution: String,
}

/// Reads a file's completions, one by one.
///
/// # Errors
/// At once: the file cannot be opened. Row by row: it is no JSON object, or a field is missing or of the wrong kind.
pub fn open_completions(
    path: &Path,
) -> Result<impl Iterator<Item = Result<ListedCompletion, DataError>>, DataError> {
    let listed = |row: Result<Row, DataError>| {
        let Row { place, fields } = row?;
        let completion = completion(&fields, &place)?;
        let solution = solution_among(&SOLUTION, &fields, &place)?;
        Ok(ListedCompletion { row: place.row, fields, completion, solution })
    };
    Ok(JsonLines::open(path)?.map(listed))
}

fn completion(fields: &Fields, place: &Place) -> Result<String, DataError> {
    const EXPECTED: &str = "what the model said, as text";
    const HINT: &str = "`\"completion\": \"<think>...</think> <answer> 7 </answer>\"`";
    match fields.get("completion") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(place.bad_field("completion", kind(other), EXPECTED, HINT)),
        None => Err(place.missing(fields, &["completion"], EXPECTED, HINT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ListedCompletion>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        std::fs::write(&path, text).unwrap();
        open_completions(&path)?.collect()
    }

    #[test]
    fn rows_keep_their_line_and_their_other_fields() {
        let rows = read(
            "{\"completion\":\"7\",\"solution\":7,\"id\":\"a\"}\n\n\
             {\"completion\":\"\",\"ground_truth\":\"x\"}\n",
        )
        .unwrap();
        assert_eq!((rows[0].row, rows[0].solution.as_str()), (1, "7"));
        assert_eq!(rows[0].fields["id"], "a");
        assert_eq!(
            (rows[1].row, rows[1].solution.as_str(), rows[1].completion.as_str()),
            (3, "x", "")
        );
    }

    #[test]
    fn an_error_names_line_and_field() {
        let message = |text| read(text).unwrap_err().to_string();
        let found = message("{\"solution\":7}");
        assert!(found.contains("line 1: field `completion`: found nothing among"), "{found}");
        let found =
            message("{\"completion\":\"7\",\"solution\":7}\n{\"completion\":7,\"solution\":7}");
        assert!(found.contains("line 2: field `completion`: found the number 7"), "{found}");
        let found = message("{\"completion\":\"7\"}");
        assert!(found.contains("field `solution` or `ground_truth`"), "{found}");
    }
}
