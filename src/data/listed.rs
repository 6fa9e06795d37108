//! Questions listed in files: what the fields of a row mean, whatever the file's format.
//!
//! | holds | field, the first that is there | may be |
//! |---|---|---|
//! | the pictures | `image_path`, `image`, `images`, `file_name` | a path, a list of paths, or absent; in parquet also bytes |
//! | the question | `problem`, `question`, `prompt` | text |
//! | the answer | `solution`, `ground_truth`, `answer` | text or a number |
//! | what SFT teaches | `completion` (as it stands), `thinking`, `reasoning` (before the answer) | text, or absent |
//!
//! The names are those of `field_names`, or what a run file gives. Other fields are read for a reward command alone, and
//! a warning says so where there is none (`remarks`); a row without pictures in which one of them seems to hold some is
//! refused (`picture_like`), and so is a conversation (`conversation`). R1-V's lists load as they are. Text is held in
//! memory; pictures are looked for when a row is fetched.
//!
//! Not here: the files' form (`json_lines`, `csv_table`, `parquet`); which files a path means (`source`);
//! finding pictures (`image_root`) and decoding them (`processor`).

use super::conversation;
use super::field_names::FieldNames;
use super::image_root::{ImageRoot, climbs};
use super::parquet::Shard;
use super::picture_like;
use super::remarks::Remarks;
use super::row::{Fields, Place, Row, first_of, kind};
use super::{DataError, Demonstration, ImageSource, OpenOptions, Sample};
use crate::config::OnBadRow;
use crate::processor::{Markers, PADS};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The rows of one or more files.
#[derive(Clone, Debug)]
pub struct ListedRows {
    name: String,
    root: ImageRoot,
    rows: Vec<ListedRow>,
    left_out: Arc<[DataError]>,
    remarks: Arc<[String]>,
    fields: Arc<[(String, usize)]>,
}

/// A row as its file has it.
pub(super) struct FoundRow {
    pub(super) row: Row,
    /// The shard that holds the row, if it comes from one.
    pub(super) shard: Option<Arc<Shard>>,
}

/// A row whose text can be used; its pictures have not been looked at.
#[derive(Clone, Debug)]
struct ListedRow {
    place: Place,
    /// Without its pictures.
    sample: Sample,
    pictures: Pictures,
}

/// Where a row's pictures are.
#[derive(Clone, Debug)]
enum Pictures {
    /// Under the image root.
    Named { field: Arc<str>, paths: Vec<String> },
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
        options: &OpenOptions,
        found: impl Iterator<Item = Result<FoundRow, DataError>>,
    ) -> Result<Self, DataError> {
        let (mut rows, mut left_out) = (Vec::new(), Vec::new());
        let names = FieldNames::new(&options.names);
        let mut remarks = Remarks::new(options.markers, options.keeps_columns);
        for row in found {
            match row.and_then(|row| ListedRow::new(row, &names, options, &mut remarks)) {
                Ok(row) => rows.push(row),
                Err(error) if options.on_bad_row == OnBadRow::Skip && error.bad_row().is_some() => {
                    left_out.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        if rows.is_empty() {
            let no_rows = DataError::NoRows { path: path.to_owned() };
            return Err(left_out.into_iter().next().unwrap_or(no_rows));
        }
        let (fields, remarks) = (remarks.counts().into(), remarks.lines(&names).into());
        Ok(Self { name, root, rows, left_out: left_out.into(), remarks, fields })
    }

    /// Some of the rows, in the order of their indices, under another name. What is said of all rows stays with them.
    pub(super) fn some(&self, name: String, indices: &[usize]) -> Self {
        let rows = indices.iter().filter_map(|idx| self.rows.get(*idx).cloned()).collect();
        Self { name, rows, ..self.clone() }
    }

    /// What rows that must not be parted have in common: pictures of the same paths, or the same question. Pictures that
    /// stand in the data file itself are not compared.
    pub(super) fn kinship(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| match &row.pictures {
            Pictures::Named { paths, .. } if !paths.is_empty() => paths.join("\n"),
            Pictures::Named { .. } => row.sample.problem.clone(),
            Pictures::Stored(_) => row.sample.id.clone(),
        })
    }

    /// The fields that rows have, and in how many of them each holds something.
    pub fn fields(&self) -> &[(String, usize)] {
        &self.fields
    }

    /// Whether any row has a picture, or may have one in its file.
    pub fn may_have_pictures(&self) -> bool {
        let named = |row: &ListedRow| matches!(&row.pictures, Pictures::Named { paths, .. } if paths.is_empty());
        !self.rows.iter().all(named)
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

    pub(super) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    pub(super) fn get(&self, idx: usize) -> Option<Result<Sample, DataError>> {
        let row = self.rows.get(idx)?;
        Some(self.images(idx)?.map(|images| Sample { images, ..row.sample.clone() }))
    }

    /// The rows without their pictures, which are not looked at.
    pub fn texts(&self) -> impl Iterator<Item = &Sample> {
        self.rows.iter().map(|row| &row.sample)
    }

    /// The parquet file that the pictures of row `idx` are in, or are named by; none where the row itself names them.
    pub fn stored_in(&self, idx: usize) -> Option<&Path> {
        match &self.rows.get(idx)?.pictures {
            Pictures::Named { .. } => None,
            Pictures::Stored(shard) => Some(shard.path()),
        }
    }

    /// The pictures of row `idx`; those in a parquet file are read from it.
    ///
    /// # Errors
    /// One does not exist, or the parquet file cannot be read.
    pub fn images(&self, idx: usize) -> Option<Result<Vec<ImageSource>, DataError>> {
        Some(self.rows.get(idx)?.images(&self.root))
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

    /// A warning, if pictures were found only under shorter paths than the rows name.
    pub(super) fn shortened(&self) -> Option<String> {
        let mut first = None;
        let mut n_rows = 0;
        for row in &self.rows {
            let Pictures::Named { field, paths } = &row.pictures else { continue };
            let mut shortened = paths.iter().filter_map(|path| {
                let found = self.root.find(path, field, &row.place).ok()?;
                Some((row.place.id(), path, found.shortened?))
            });
            if let Some(found) = shortened.next() {
                first.get_or_insert(found);
                n_rows += 1;
            }
        }
        let (id, path, found) = first?;
        let rows = if n_rows == 1 { "1 row".to_owned() } else { format!("{n_rows} rows") };
        Some(format!(
            "pictures of {rows} were found only without their first folders, the first {id}: resolved {path} as {}",
            found.display()
        ))
    }
}

impl ListedRow {
    fn new(
        found: FoundRow,
        names: &FieldNames,
        options: &OpenOptions,
        remarks: &mut Remarks,
    ) -> Result<Self, DataError> {
        let FoundRow { row: Row { place, fields }, shard } = found;
        let is_text = |value: &Value| !value.is_array();
        if !first_of(&fields, &names.problem).is_some_and(|(_, value)| is_text(value)) {
            conversation::refuse_in(&fields, &place)?;
        }
        let pictures = match &shard {
            Some(shard) if shard.has_pictures() => Pictures::Stored(shard.clone()),
            _ => {
                let (field, paths) = image_paths(&fields, &place, names)?;
                if paths.is_empty() {
                    picture_like::refuse_in(&fields, &place, names)?;
                }
                Pictures::Named { field, paths }
            }
        };
        let sample = Sample {
            id: place.id(),
            images: Vec::new(),
            problem: problem(&fields, &place, (names, options.markers))?,
            solution: solution_among(&names.solution, &fields, &place)?,
            demonstration: demonstration(&fields, &place, names)?,
            columns: Arc::new(if options.keeps_columns {
                others(&fields, names)
            } else {
                Fields::new()
            }),
        };
        remarks.fields(&place, &fields, names, shard.as_deref());
        remarks.texts(&place, &sample);
        Ok(Self { place, sample, pictures })
    }

    fn images(&self, root: &ImageRoot) -> Result<Vec<ImageSource>, DataError> {
        match &self.pictures {
            Pictures::Named { field, paths } => {
                let find = |path: &String| Ok(root.find(path, field, &self.place)?.image);
                paths.iter().map(find).collect()
            }
            Pictures::Stored(shard) => shard.pictures(&self.place, root),
        }
    }
}

/// The fields of a row that are not read, as a reward command is given them.
fn others(fields: &Fields, names: &FieldNames) -> Fields {
    let is_read = |name: &str| names.all().any(|known| known == name);
    let others = fields.iter().filter(|(name, value)| !is_read(name) && !value.is_null());
    others.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn image_paths(
    fields: &Fields,
    place: &Place,
    names: &FieldNames,
) -> Result<(Arc<str>, Vec<String>), DataError> {
    let Some((field, value)) = first_of(fields, &names.image) else {
        return Ok(("".into(), Vec::new()));
    };
    let paths = match value {
        Value::Array(paths) => paths.iter().collect(),
        path => vec![path],
    };
    let path = |path: &Value| match path {
        Value::String(path) if climbs(path) => Err(climbing(place, field, path)),
        Value::String(path) if !path.is_empty() => match picture_like::no_path(path) {
            None => Ok(path.clone()),
            Some((found, hint)) => {
                Err(place.bad_field(field, found, "the path of a picture file", hint))
            }
        },
        other => Err(place.bad_field(
            field,
            kind(other),
            "the path of a picture file, or a list of them",
            "pictures stand in files of their own; a row of text alone has no such field",
        )),
    };
    Ok((field.into(), paths.into_iter().map(path).collect::<Result<_, _>>()?))
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

fn problem(
    fields: &Fields,
    place: &Place,
    (names, markers): (&FieldNames, Markers),
) -> Result<String, DataError> {
    const EXPECTED: &str = "the question as text";
    const HINT: &str = "each row asks something: `\"problem\": \"How many items are there?\"`";
    match first_of(fields, &names.problem) {
        Some((field, Value::String(text))) if !text.trim().is_empty() => {
            let pad = PADS.into_iter().find(|pad| markers.are_tokens() && text.contains(pad));
            pad.map_or_else(
                || place.text_within_limit(field, text),
                |pad| Err(padded(place, field, pad)),
            )
        }
        Some((field, other)) => Err(place.bad_field(field, kind(other), EXPECTED, HINT)),
        None => Err(place.missing(fields, &names.problem, EXPECTED, HINT)),
    }
}

/// The error for a question that writes out the token of a picture's patches where that is one: the prompt would have more patches than its
/// pictures.
fn padded(place: &Place, field: &str, pad: &str) -> DataError {
    place.bad_field(
        field,
        format!("the model's own marker {pad}"),
        "the question as text",
        "take the markers out: a row's pictures are put before its question",
    )
}

/// The right answer, in the first of the named fields that holds something.
pub(super) fn solution_among(
    names: &[impl AsRef<str>],
    fields: &Fields,
    place: &Place,
) -> Result<String, DataError> {
    const EXPECTED: &str = "the right answer as text or a number";
    const HINT: &str = "rewards compare with it: `\"solution\": \"<answer> 7 </answer>\"` or `7`";
    match first_of(fields, names) {
        Some((field, Value::String(text))) if !super::gold_answer(text).is_empty() => {
            place.text_within_limit(field, text)
        }
        Some((_, Value::Number(number))) => Ok(number.to_string()),
        Some((field, other)) => Err(place.bad_field(field, kind(other), EXPECTED, HINT)),
        None => Err(place.missing(fields, names, EXPECTED, HINT)),
    }
}

fn demonstration(
    fields: &Fields,
    place: &Place,
    names: &FieldNames,
) -> Result<Option<Demonstration>, DataError> {
    let completion = first_of(fields, &names.completion);
    match completion.or_else(|| first_of(fields, &names.reasoning)) {
        None => Ok(None),
        Some((field, Value::String(text))) => {
            let text = place.text_within_limit(field, text)?;
            Ok(Some(match completion {
                Some(_) => Demonstration::Completion(text),
                None => Demonstration::Reasoning(text),
            }))
        }
        Some((field, other)) => Err(place.bad_field(
            field,
            kind(other),
            "text",
            "supervised training teaches this field; leave it out where a row has none",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, OpenOptions, open};
    use super::*;
    use crate::config::DataFields;
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
        let told = "fields for the same thing in the row rows.jsonl:2: `completion` is read, `thinking` is not";
        assert_eq!(dataset.remarks(), [told]);
    }

    #[test]
    fn fields_have_the_names_that_the_run_file_gives() {
        let (_folder, path) = written(
            "{\"asked\":\"?\",\"gold\":1,\"why\":\"so\",\"shot\":\"a.png\",\"problem\":\"other\"}",
        );
        let name = |name: &str| Some(name.to_owned());
        let names = DataFields {
            image: name("shot"),
            problem: name("asked"),
            solution: name("gold"),
            completion: None,
            reasoning: name("why"),
        };
        std::fs::write(path.with_file_name("a.png"), "").unwrap();
        let named = OpenOptions { names, ..OpenOptions::default() };
        let dataset = open(&path, None, &named).unwrap();
        let sample = dataset.get(0).unwrap();
        assert_eq!((sample.problem.as_str(), sample.solution.as_str()), ("?", "1"));
        assert_eq!(sample.demonstration, Some(Demonstration::Reasoning("so".to_owned())));
        assert_eq!(sample.images.len(), 1);
        assert!(dataset.remarks()[0].starts_with("fields `problem` in the row"));
        // A name that no row has is not replaced by a known one that is there.
        let mut misspelt = named;
        misspelt.names.problem = name("askt");
        let message = open(&path, None, &misspelt).unwrap_err().to_string();
        assert!(
            message.contains("field `askt`: found nothing among the fields [asked"),
            "{message}"
        );
    }

    #[test]
    fn what_stands_in_the_place_of_a_path_is_called_what_it_is() {
        for (image, found) in [
            ("https://x.org/a.png", "found a URL, expected the path"),
            ("data:image/png;base64,AAAA", "found a data URI"),
        ] {
            let message =
                message(&format!("{{\"problem\":\"?\",\"solution\":1,\"image\":[\"{image}\"]}}"));
            assert!(
                message.contains("line 1: field `image`: ") && message.contains(found),
                "{message}"
            );
        }
    }

    #[test]
    fn a_conversation_is_refused_with_what_converts_it() {
        for (field, turns) in [
            ("conversations", "[{\"from\":\"human\",\"value\":\"<image>?\"}]"),
            ("messages", "[{\"role\":\"user\",\"content\":\"?\"}]"),
            ("prompt", "[{\"role\":\"user\",\"content\":\"?\"}]"),
        ] {
            let message = message(&format!("{{\"{field}\":{turns},\"solution\":1}}"));
            let found =
                format!("line 1: field `{field}`: found a conversation, expected a question");
            assert!(message.contains(&found), "{message}");
            assert!(message.contains("rows.jsonl --convert rows.jsonl`"), "{message}");
        }
        let kept = "{\"problem\":\"?\",\"solution\":1,\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}";
        assert_eq!(opened(kept).unwrap().len(), 1, "a row with its own question is read");
    }

    #[test]
    fn columns_are_kept_for_those_who_read_them_and_then_not_warned_of() {
        let (_folder, path) =
            written("{\"problem\":\"?\",\"solution\":1,\"id\":7,\"size\":{\"w\":3},\"none\":null}");
        let keeping = OpenOptions { keeps_columns: true, ..OpenOptions::default() };
        let dataset = open(&path, None, &keeping).unwrap();
        let columns = dataset.get(0).unwrap().columns;
        assert_eq!(
            Value::Object(columns.as_ref().clone()).to_string(),
            "{\"id\":7,\"size\":{\"w\":3}}"
        );
        assert!(dataset.remarks().is_empty());
        let others = open(&path, None, &OpenOptions::default()).unwrap();
        assert!(others.get(0).unwrap().columns.is_empty() && others.remarks().len() == 1);
    }

    #[test]
    fn an_error_names_file_line_field_and_what_was_found() {
        let good = "{\"problem\":\"?\",\"solution\":1}\n\n";
        let cases = [
            (
                "{\"problem\":\"?\",\"result\":1}",
                ["`solution` or `ground_truth` or `answer`", "[problem, result]"],
            ),
            ("{\"problem\":\"?\",\"solution\":[1]}", ["`solution`", "found a list"]),
            (
                "{\"problem\":\"?\",\"solution\":\"<answer> </answer>\"}",
                ["`solution`", "empty text"],
            ),
            ("{\"problem\":\"?\",\"ground_truth\":true}", ["`ground_truth`", "found true"]),
            ("{\"solution\":1}", ["`problem` or `question` or `prompt`", "expected the question"]),
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
    fn a_picture_under_a_name_that_is_not_known_is_refused() {
        let message = message(
            "{\"problem\":\"?\",\"solution\":1,\"image\":[]}\n\
             {\"problem\":\"?\",\"solution\":1,\"img\":\"a.png\",\"image\":null}",
        );
        for part in [
            "rows.jsonl: line 2: field `img`: found the picture file a.png",
            "`image_path`, `image`, `images` or `file_name`",
            "\nhint: rename the field to `image`, or say data.fields.image",
        ] {
            assert!(message.contains(part), "{message}");
        }
        let with_one = "{\"problem\":\"?\",\"solution\":1,\"image\":\"a.png\",\"img\":\"b.png\"}";
        assert_eq!(opened(with_one).unwrap().remarks().len(), 1);
    }

    #[test]
    fn fields_that_nothing_reads_are_told_once_and_names_of_rows_are_not() {
        let row = |more: &str| format!("{{\"problem\":\"?\",\"solution\":1{more}}}\n");
        let quiet = row(",\"id\":3,\"question_id\":\"a\",\"thinking\":\"\",\"note\":null");
        assert!(opened(&quiet).unwrap().remarks().is_empty());
        let loud = quiet + &row(",\"source\":\"web\"") + &row(",\"level\":2,\"source\":\"web\"");
        let dataset = opened(&loud).unwrap();
        let [remark] = dataset.remarks() else { panic!("{:?}", dataset.remarks()) };
        let expected = "fields `level`, `source` in 2 rows, the first rows.jsonl:2: nothing reads them; the fields \
                        that are read are image_path, image, images, file_name, problem, question, prompt, solution, ground_truth, \
                        answer, completion, thinking, reasoning; data.fields gives them other names";
        assert_eq!(remark, expected);
        let many: Vec<String> = (0..10).map(|i| format!(",\"field{i}\":1")).collect();
        let many = opened(&row(&many.concat())).unwrap();
        let words = "`field7` and 2 more in the row rows.jsonl:1: ";
        assert!(many.remarks()[0].contains(words), "{:?}", many.remarks());
    }

    #[test]
    fn markers_in_questions_are_told_or_refused_where_no_prompt_can_have_them() {
        let row = |problem: &str| format!("{{\"problem\":\"{problem}\",\"solution\":1}}\n");
        let rows = row("a < b?") + &row("<image>\\nHow many?") + &row("<|im_end|><image>");
        let dataset = opened(&rows).unwrap();
        let [placeholders, markers] = dataset.remarks() else { panic!("{:?}", dataset.remarks()) };
        let start = "questions with `<image>` in 2 rows, the first rows.jsonl:2: the model reads it as plain";
        assert!(placeholders.starts_with(start), "{placeholders}");
        let start =
            "texts with `<|im_end|>` in the row rows.jsonl:3: the model reads them as plain";
        assert!(markers.starts_with(start), "{markers}");
        let taught = "{\"problem\":\"?\",\"solution\":1,\"completion\":\"<|image_pad|>\"}";
        assert!(opened(taught).unwrap().remarks()[0].starts_with("texts with `<|image_pad|>` in"));

        let (_folder, path) = written(&rows);
        let allowing = OpenOptions { markers: Markers::AreTokens, ..OpenOptions::default() };
        let dataset = open(&path, None, &allowing).unwrap();
        assert!(dataset.remarks()[1].contains("rows.jsonl:3: each becomes a special token"));
        let (_folder, path) = written(&row("<|vision_start|><|image_pad|>"));
        let refused = open(&path, None, &allowing).unwrap_err().to_string();
        assert!(refused.contains("field `problem`: found the model's own marker <|image_pad|>"));
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
