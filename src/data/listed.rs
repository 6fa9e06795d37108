//! Questions listed in a file, one JSON object a line.
//!
//! | holds | field, the first that is there | may be |
//! |---|---|---|
//! | the pictures | `image_path`, `image`, `images` | a path, a list of paths, or absent |
//! | the question | `problem`, `question` | text |
//! | the answer | `solution`, `ground_truth` | text or a number |
//! | what SFT teaches | `completion` (as it stands), `thinking`, `reasoning` (before the answer) | text, or absent |
//!
//! Other fields are ignored, as are blank lines. R1-V's lists load as they are.
//!
//! Not here: the file's form (`json_lines`); which file a task reads (`tasks`); decoding pictures (`processor`).

use super::json_lines::{Fields, JsonLines, JsonRow, Place, first_of, kind};
use super::{DataError, Dataset, Demonstration, ImageSource, Sample};
use serde_json::Value;
use std::path::{Path, PathBuf};

const IMAGE_FIELDS: [&str; 3] = ["image_path", "image", "images"];
const PROBLEM_FIELDS: [&str; 2] = ["problem", "question"];
const SOLUTION_FIELDS: [&str; 2] = ["solution", "ground_truth"];
const DEMONSTRATION_FIELDS: [&str; 3] = ["completion", "thinking", "reasoning"];

/// Reads a JSON-lines file; its rows are checked here, its pictures only looked for when a row is
/// fetched (or by [`Dataset::check_images`]).
///
/// Relative picture paths start at `image_root`, or at the file's own folder without one.
///
/// # Errors
/// The file cannot be read, has no row, or has a row that is not what the header describes.
pub fn open_json_lines(path: &Path, image_root: Option<&Path>) -> Result<Dataset, DataError> {
    let root = image_root.or(path.parent()).unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let row = |row| listed_row(row?, &name, root);
    let rows: Vec<ListedRow> = JsonLines::open(path)?.map(row).collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Err(DataError::NoRows { path: path.to_owned() });
    }
    Ok(Dataset::Listed(ListedRows { name, path: path.to_owned(), root: root.to_owned(), rows }))
}

/// The rows of a file.
#[derive(Clone, Debug)]
pub struct ListedRows {
    name: String,
    path: PathBuf,
    root: PathBuf,
    rows: Vec<ListedRow>,
}

#[derive(Clone, Debug)]
struct ListedRow {
    sample: Sample,
    /// The line, from 1.
    row: usize,
    image_field: &'static str,
}

impl ListedRows {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn get(&self, idx: usize) -> Option<Result<Sample, DataError>> {
        let listed = self.rows.get(idx)?;
        Some(self.check_row(listed).map(|()| listed.sample.clone()))
    }

    pub(super) fn solutions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|row| (row.sample.id.as_str(), row.sample.solution.as_str()))
    }

    pub(super) fn check_images(&self) -> Result<(), DataError> {
        self.rows.iter().try_for_each(|listed| self.check_row(listed))
    }

    fn check_row(&self, listed: &ListedRow) -> Result<(), DataError> {
        for image in &listed.sample.images {
            if let ImageSource::File(image) = image
                && !image.is_file()
            {
                return Err(DataError::MissingImage {
                    path: self.path.clone(),
                    row: listed.row,
                    field: listed.image_field,
                    image: image.clone(),
                    root: self.root.clone(),
                });
            }
        }
        Ok(())
    }
}

fn listed_row(row: JsonRow, name: &str, root: &Path) -> Result<ListedRow, DataError> {
    let JsonRow { place, fields } = row;
    let (image_field, images) = images(&fields, &place, root)?;
    let sample = Sample {
        id: format!("{name}:{}", place.row),
        images,
        problem: problem(&fields, &place)?,
        solution: solution(&fields, &place)?,
        demonstration: demonstration(&fields, &place)?,
    };
    Ok(ListedRow { sample, row: place.row, image_field })
}

fn images(
    fields: &Fields,
    place: &Place,
    root: &Path,
) -> Result<(&'static str, Vec<ImageSource>), DataError> {
    let Some((field, value)) = first_of(fields, &IMAGE_FIELDS) else {
        return Ok((IMAGE_FIELDS[0], Vec::new()));
    };
    let paths = match value {
        Value::Array(paths) => paths.iter().collect(),
        path => vec![path],
    };
    let image = |path: &Value| match path {
        // Collecting the components drops the "./" of R1-V's lists.
        Value::String(path) if !path.is_empty() => {
            Ok(ImageSource::File(root.join(path).components().collect()))
        }
        other => Err(place.bad_field(
            field,
            kind(other),
            "the path of a picture file, or a list of them",
            "pictures stand in files of their own; a row of text alone has no such field",
        )),
    };
    Ok((field, paths.into_iter().map(image).collect::<Result<_, _>>()?))
}

fn problem(fields: &Fields, place: &Place) -> Result<String, DataError> {
    const EXPECTED: &str = "the question as text";
    const HINT: &str = "each row asks something: `\"problem\": \"How many items are there?\"`";
    match first_of(fields, &PROBLEM_FIELDS) {
        Some((_, Value::String(text))) if !text.trim().is_empty() => Ok(text.clone()),
        Some((field, other)) => Err(place.bad_field(field, kind(other), EXPECTED, HINT)),
        None => Err(place.missing(fields, "problem` or `question", EXPECTED, HINT)),
    }
}

pub(super) fn solution(fields: &Fields, place: &Place) -> Result<String, DataError> {
    const EXPECTED: &str = "the right answer as text or a number";
    const HINT: &str = "rewards compare with it: `\"solution\": \"<answer> 7 </answer>\"` or `7`";
    match first_of(fields, &SOLUTION_FIELDS) {
        Some((_, Value::String(text))) if !super::gold_answer(text).is_empty() => Ok(text.clone()),
        Some((_, Value::Number(number))) => Ok(number.to_string()),
        Some((field, other)) => Err(place.bad_field(field, kind(other), EXPECTED, HINT)),
        None => Err(place.missing(fields, "solution` or `ground_truth", EXPECTED, HINT)),
    }
}

fn demonstration(fields: &Fields, place: &Place) -> Result<Option<Demonstration>, DataError> {
    match first_of(fields, &DEMONSTRATION_FIELDS) {
        None => Ok(None),
        Some(("completion", Value::String(text))) => {
            Ok(Some(Demonstration::Completion(text.clone())))
        }
        Some((_, Value::String(text))) => Ok(Some(Demonstration::Reasoning(text.clone()))),
        Some((field, other)) => Err(place.bad_field(
            field,
            kind(other),
            "text",
            "it is what supervised training teaches; leave it out where there is none",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tempfile::TempDir;

    fn written(lines: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, lines).unwrap();
        (folder, path)
    }

    fn opened(lines: &str) -> Result<Dataset, DataError> {
        let (_folder, path) = written(lines);
        open_json_lines(&path, None)
    }

    fn message(lines: &str) -> String {
        opened(lines).unwrap_err().to_string()
    }

    /// The fields of R1-V's lists of SuperCLEVR and GeoQA prompts.
    #[test]
    fn rows_of_r1v_load_as_they_are() {
        let (folder, path) = written(
            "{\"image_path\": \"./images/a.png\", \"question\": \"How many?\", \"ground_truth\": 4}\n\
             \n\
             {\"image_path\": \"./b.png\", \"question\": \"Angle?\", \"ground_truth\": \"140\\u00b0\"}",
        );
        std::fs::create_dir(folder.path().join("images")).unwrap();
        std::fs::write(folder.path().join("images/a.png"), "").unwrap();
        let dataset = open_json_lines(&path, None).unwrap();
        assert_eq!((dataset.name(), dataset.len()), ("rows.jsonl", 2));
        let sample = dataset.get(0).unwrap();
        assert_eq!((sample.id.as_str(), sample.problem.as_str()), ("rows.jsonl:1", "How many?"));
        assert_eq!((sample.solution.as_str(), sample.demonstration), ("4", None));
        let [ImageSource::File(image)] = sample.images.as_slice() else { panic!("no file") };
        assert!(image.is_file());
        let error = dataset.get(1).unwrap_err();
        assert!(matches!(&error, DataError::MissingImage { row: 3, field: "image_path", .. }));
        assert!(matches!(dataset.check_images(), Err(DataError::MissingImage { row: 3, .. })));
        for part in ["rows.jsonl: line 3", "`image_path`", "b.png", "hint: "] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn pictures_start_at_the_root_that_was_given() {
        let (_folder, path) =
            written("{\"images\":[\"a.png\",\"b.png\"],\"problem\":\"?\",\"solution\":1}");
        let root = tempfile::tempdir().unwrap();
        for image in ["a.png", "b.png"] {
            std::fs::write(root.path().join(image), "").unwrap();
        }
        let dataset = open_json_lines(&path, Some(root.path())).unwrap();
        assert_eq!(dataset.get(0).unwrap().images.len(), 2);
        assert!(open_json_lines(&path, None).unwrap().get(0).is_err());
    }

    #[test]
    fn demonstration_is_taken_from_the_field_that_has_it() {
        let dataset = opened(
            "{\"problem\":\"?\",\"solution\":\"<answer> 7 </answer>\",\"thinking\":\"seven\"}\n\
             {\"problem\":\"?\",\"solution\":7,\"completion\":\"whole\",\"thinking\":\"seven\"}",
        )
        .unwrap();
        let first = dataset.get(0).unwrap();
        assert_eq!(first.solution, "<answer> 7 </answer>");
        assert_eq!(first.demonstration, Some(Demonstration::Reasoning("seven".to_owned())));
        let second = dataset.get(1).unwrap().demonstration;
        assert_eq!(second, Some(Demonstration::Completion("whole".to_owned())));
        assert!(first.images.is_empty());
    }

    #[test]
    fn an_error_names_file_line_field_and_what_was_found() {
        let good = "{\"problem\":\"?\",\"solution\":1}\n\n";
        let cases = [
            (
                "{\"problem\":\"?\",\"answer\":1}",
                ["`solution` or `ground_truth`", "[problem, answer]"],
            ),
            ("{\"problem\":\"?\",\"solution\":[1]}", ["`solution`", "found a list"]),
            (
                "{\"problem\":\"?\",\"solution\":\"<answer> </answer>\"}",
                ["`solution`", "empty text"],
            ),
            ("{\"problem\":\"?\",\"ground_truth\":true}", ["`ground_truth`", "found true"]),
            ("{\"solution\":1}", ["`problem` or `question`", "expected the question"]),
            ("{\"question\":3,\"solution\":1}", ["`question`", "the number 3"]),
            ("{\"problem\":\"?\",\"solution\":1,\"image\":{}}", ["`image`", "an object"]),
            (
                "{\"problem\":\"?\",\"solution\":1,\"images\":[\"a\",0]}",
                ["`images`", "the number 0"],
            ),
            (
                "{\"problem\":\"?\",\"solution\":1,\"reasoning\":0}",
                ["`reasoning`", "expected text"],
            ),
            ("{\"problem\":", ["broken JSON", "EOF"]),
            ("[1]", ["broken JSON", "a list, expected an object"]),
        ];
        for (line, parts) in cases {
            let message = message(&format!("{good}{line}"));
            for part in parts.into_iter().chain(["rows.jsonl: line 3", "\nhint: "]) {
                assert!(message.contains(part), "{line}: {message}");
            }
        }
    }

    #[test]
    fn a_file_without_rows_or_text_is_refused() {
        assert!(matches!(opened("\n \n"), Err(DataError::NoRows { .. })));
        let (_folder, path) = written("");
        std::fs::write(&path, b"\n\xff\xfe{").unwrap();
        assert!(matches!(open_json_lines(&path, None), Err(DataError::NotText { row: 2, .. })));
        let nowhere = path.with_file_name("nowhere.jsonl");
        let error = open_json_lines(&nowhere, None).unwrap_err();
        assert!(matches!(error, DataError::Unreadable { .. }));
        assert!(error.to_string().contains("nowhere.jsonl"), "{error}");
    }

    #[test]
    fn line_ends_and_marks_of_other_systems_do_no_harm() {
        let dataset = opened("\u{feff}{\"problem\":\"?\",\"solution\":1}\r\n\r\n").unwrap();
        assert_eq!((dataset.len(), dataset.get(0).unwrap().problem.as_str()), (1, "?"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read(problems in prop::collection::vec("\\PC*[a-z]", 1..6), gold: i64) {
            let lines: Vec<String> = problems
                .iter()
                .map(|problem| serde_json::json!({"problem": problem, "solution": gold}).to_string())
                .collect();
            let dataset = opened(&lines.join("\n")).unwrap();
            prop_assert_eq!(dataset.len(), problems.len());
            for (idx, problem) in problems.iter().enumerate() {
                let sample = dataset.get(idx).unwrap();
                prop_assert_eq!(&sample.problem, problem);
                prop_assert_eq!(sample.solution, gold.to_string());
            }
        }

        #[test]
        fn no_file_content_makes_it_panic(content in "[\\[\\]{}:,\"a-z0-9 \n]{0,60}") {
            let is_refused = opened(&content).is_err();
            prop_assert!(is_refused || content.contains("solution"));
        }
    }
}
