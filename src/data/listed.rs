//! Questions listed in files: what the fields of a row mean, whatever the file's format.
//!
//! | holds | field, the first that is there | may be |
//! |---|---|---|
//! | the pictures | `image_path`, `image`, `images`, `file_name` | a path, a list of paths, or absent; in parquet also bytes |
//! | the question | `problem`, `question` | text |
//! | the answer | `solution`, `ground_truth` | text or a number |
//! | what SFT teaches | `completion` (as it stands), `thinking`, `reasoning` (before the answer) | text, or absent |
//!
//! Other fields are ignored. R1-V's lists load as they are. Text is held in memory; pictures are looked
//! for when a row is fetched.
//!
//! Not here: the files' form (`json_lines`, `csv_table`, `parquet`); which files a path means (`source`);
//! finding pictures (`image_root`) and decoding them (`processor`).

use super::image_root::{ImageRoot, climbs};
use super::parquet::Shard;
use super::row::{Fields, Place, Row, first_of, kind};
use super::{DataError, Demonstration, ImageSource, Sample};
use crate::config::OnBadRow;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

pub(super) const IMAGE_FIELDS: [&str; 4] = ["image_path", "image", "images", "file_name"];
pub(super) const PROBLEM_FIELDS: [&str; 2] = ["problem", "question"];
pub(super) const SOLUTION_FIELDS: [&str; 2] = ["solution", "ground_truth"];
pub(super) const DEMONSTRATION_FIELDS: [&str; 3] = ["completion", "thinking", "reasoning"];

/// The rows of one or more files.
#[derive(Clone, Debug)]
pub struct ListedRows {
    name: String,
    root: ImageRoot,
    rows: Vec<ListedRow>,
    left_out: Arc<[DataError]>,
}

/// A row that can be used, as far as its text tells.
#[derive(Clone, Debug)]
pub(super) struct ListedRow {
    place: Place,
    /// Without its pictures.
    sample: Sample,
    pictures: Pictures,
}

/// Where a row's pictures are.
#[derive(Clone, Debug)]
enum Pictures {
    /// Under the image root.
    Named { field: &'static str, paths: Vec<String> },
    /// In the shard that the row comes from.
    Stored(Arc<Shard>),
}

impl ListedRows {
    /// Keeps the rows that can be used.
    ///
    /// # Errors
    /// A file cannot be read; a row cannot be used and is not to be skipped; or no row is left.
    pub(super) fn collect(
        (name, path): (String, &Path),
        root: ImageRoot,
        on_bad_row: OnBadRow,
        listed: impl Iterator<Item = Result<ListedRow, DataError>>,
    ) -> Result<Self, DataError> {
        let (mut rows, mut left_out) = (Vec::new(), Vec::new());
        for row in listed {
            match row {
                Ok(row) => rows.push(row),
                Err(error) if on_bad_row == OnBadRow::Skip && error.bad_row().is_some() => {
                    left_out.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        if rows.is_empty() {
            let no_rows = DataError::NoRows { path: path.to_owned() };
            return Err(left_out.into_iter().next().unwrap_or(no_rows));
        }
        Ok(Self { name, root, rows, left_out: left_out.into() })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn left_out(&self) -> &[DataError] {
        &self.left_out
    }

    pub(super) fn get(&self, idx: usize) -> Option<Result<Sample, DataError>> {
        let row = self.rows.get(idx)?;
        let images = row.images(&self.root);
        Some(images.map(|images| Sample { images, ..row.sample.clone() }))
    }

    pub(super) fn solutions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|row| (row.sample.id.as_str(), row.sample.solution.as_str()))
    }

    /// Pictures stored in shards are there whenever their row is.
    pub(super) fn check_images(&self) -> Result<(), DataError> {
        let mut named =
            self.rows.iter().filter(|row| matches!(row.pictures, Pictures::Named { .. }));
        named.try_for_each(|row| row.images(&self.root).map(drop))
    }
}

impl ListedRow {
    /// A row whose pictures, if it has any, are named in its fields.
    pub(super) fn new(row: Row) -> Result<Self, DataError> {
        let (field, paths) = image_paths(&row.fields, &row.place)?;
        Self::with_pictures(row, Pictures::Named { field, paths })
    }

    /// A row whose pictures are in `shard`.
    pub(super) fn stored(row: Row, shard: &Arc<Shard>) -> Result<Self, DataError> {
        Self::with_pictures(row, Pictures::Stored(shard.clone()))
    }

    fn with_pictures(row: Row, pictures: Pictures) -> Result<Self, DataError> {
        let Row { place, fields } = row;
        let sample = Sample {
            id: place.id(),
            images: Vec::new(),
            problem: problem(&fields, &place)?,
            solution: solution(&fields, &place)?,
            demonstration: demonstration(&fields, &place)?,
        };
        Ok(Self { place, sample, pictures })
    }

    fn images(&self, root: &ImageRoot) -> Result<Vec<ImageSource>, DataError> {
        match &self.pictures {
            Pictures::Named { field, paths } => {
                paths.iter().map(|path| root.find(path, field, &self.place)).collect()
            }
            Pictures::Stored(shard) => shard.pictures(&self.place, root),
        }
    }
}

fn image_paths(fields: &Fields, place: &Place) -> Result<(&'static str, Vec<String>), DataError> {
    let Some((field, value)) = first_of(fields, &IMAGE_FIELDS) else {
        return Ok((IMAGE_FIELDS[0], Vec::new()));
    };
    let paths = match value {
        Value::Array(paths) => paths.iter().collect(),
        path => vec![path],
    };
    let path = |path: &Value| match path {
        Value::String(path) if climbs(path) => Err(climbing(place, field, path)),
        Value::String(path) if !path.is_empty() => Ok(path.clone()),
        other => Err(place.bad_field(
            field,
            kind(other),
            "the path of a picture file, or a list of them",
            "pictures stand in files of their own; a row of text alone has no such field",
        )),
    };
    Ok((field, paths.into_iter().map(path).collect::<Result<_, _>>()?))
}

/// A row names a picture outside of the image root.
pub(super) fn climbing(place: &Place, field: &str, path: &str) -> DataError {
    place.bad_field(
        field,
        format!("`..` in the path {path}"),
        "a picture below the image root",
        "name the folder that holds every picture as the image root",
    )
}

fn problem(fields: &Fields, place: &Place) -> Result<String, DataError> {
    const EXPECTED: &str = "the question as text";
    const HINT: &str = "each row asks something: `\"problem\": \"How many items are there?\"`";
    match first_of(fields, &PROBLEM_FIELDS) {
        Some((_, Value::String(text))) if !text.trim().is_empty() => Ok(text.clone()),
        Some((field, other)) => Err(place.bad_field(field, kind(other), EXPECTED, HINT)),
        None => Err(place.missing(fields, &PROBLEM_FIELDS, EXPECTED, HINT)),
    }
}

pub(super) fn solution(fields: &Fields, place: &Place) -> Result<String, DataError> {
    const EXPECTED: &str = "the right answer as text or a number";
    const HINT: &str = "rewards compare with it: `\"solution\": \"<answer> 7 </answer>\"` or `7`";
    match first_of(fields, &SOLUTION_FIELDS) {
        Some((_, Value::String(text))) if !super::gold_answer(text).is_empty() => Ok(text.clone()),
        Some((_, Value::Number(number))) => Ok(number.to_string()),
        Some((field, other)) => Err(place.bad_field(field, kind(other), EXPECTED, HINT)),
        None => Err(place.missing(fields, &SOLUTION_FIELDS, EXPECTED, HINT)),
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
    use super::super::{Dataset, OpenOptions, open};
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn written(lines: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, lines).unwrap();
        (folder, path)
    }

    fn opened(lines: &str) -> Result<Dataset, DataError> {
        let (_folder, path) = written(lines);
        open(&path, None, &OpenOptions::default())
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
        let dataset = open(&path, None, &OpenOptions::default()).unwrap();
        assert_eq!((dataset.name(), dataset.len()), ("rows.jsonl", 2));
        let sample = dataset.get(0).unwrap();
        assert_eq!((sample.id.as_str(), sample.problem.as_str()), ("rows.jsonl:1", "How many?"));
        assert_eq!((sample.solution.as_str(), sample.demonstration), ("4", None));
        let [ImageSource::File(image)] = sample.images.as_slice() else { panic!("no file") };
        assert!(image.is_file());
        let error = dataset.get(1).unwrap_err();
        assert!(matches!(&error, DataError::MissingImage { place, .. } if place.row == 3));
        assert!(matches!(dataset.check_images(), Err(DataError::MissingImage { .. })));
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
        let rooted =
            OpenOptions { image_root: Some(root.path().to_owned()), ..OpenOptions::default() };
        let dataset = open(&path, None, &rooted).unwrap();
        assert_eq!(dataset.get(0).unwrap().images.len(), 2);
        assert!(open(&path, None, &OpenOptions::default()).unwrap().get(0).is_err());
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
        assert!(
            matches!(open(&path, None, &OpenOptions::default()), Err(DataError::NotText { place }) if place.row == 2)
        );
        let nowhere = path.with_file_name("nowhere.jsonl");
        let error = open(&nowhere, None, &OpenOptions::default()).unwrap_err();
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
