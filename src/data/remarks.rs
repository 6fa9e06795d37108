//! Warnings about rows that can be used: fields that nothing reads, and markers that are written out in texts.
//! Each is given once for a data set.
//! Not here: rows that cannot be used (`listed`), pictures under a wrong name (`picture_like`).

use super::listed::{DEMONSTRATION_FIELDS, IMAGE_FIELDS, PROBLEM_FIELDS, SOLUTION_FIELDS};
use super::row::{Fields, Place};
use super::{Demonstration, Sample};
use crate::processor::{MARKERS, Markers, PADS};
use serde_json::Value;
use std::collections::BTreeSet;

/// Where other programs mark a picture's place in the text; to the model it is text like any other.
const PLACEHOLDER: &str = "<image>";

/// Fields that identify rows: they need no warning when nothing reads them.
const NAMES_OF_ROWS: [&str; 11] = [
    "id",
    "idx",
    "index",
    "uid",
    "uuid",
    "qid",
    "key",
    "question_id",
    "problem_id",
    "sample_id",
    "__index_level_0__",
];

/// The most names in one line.
const MOST_NAMED: usize = 8;

/// What has been seen in the rows so far.
#[derive(Debug)]
pub(super) struct Remarks {
    meaning: Markers,
    unread: Seen,
    placeholders: Seen,
    markers: Seen,
}

/// Names, the first row that has one of them, and how many rows do.
#[derive(Debug, Default)]
struct Seen {
    words: BTreeSet<String>,
    first: String,
    n_rows: usize,
}

/// The fields that something reads.
fn read() -> impl Iterator<Item = &'static str> {
    let of_questions = IMAGE_FIELDS.into_iter().chain(PROBLEM_FIELDS);
    of_questions.chain(SOLUTION_FIELDS).chain(DEMONSTRATION_FIELDS)
}

/// Whether nothing reads a field of this name, and it does not identify rows.
pub(super) fn is_unread(name: &str) -> bool {
    !NAMES_OF_ROWS.contains(&name) && !read().any(|known| known == name)
}

/// The fields that hold something and are not read, except those that identify the row.
pub(super) fn unread(fields: &Fields) -> impl Iterator<Item = (&str, &Value)> {
    let named = fields.iter().map(|(name, value)| (name.as_str(), value));
    named.filter(|(name, value)| is_unread(name) && !value.is_null())
}

impl Remarks {
    /// Nothing yet, for rows whose markers will have this meaning.
    pub(super) fn new(meaning: Markers) -> Self {
        let [unread, placeholders, markers] = std::array::from_fn(|_| Seen::default());
        Self { meaning, unread, placeholders, markers }
    }

    /// Looks at a row.
    ///
    /// - `columns`: those of its table that nothing reads, which are not among `fields`
    pub(super) fn fields(&mut self, place: &Place, fields: &Fields, columns: &[String]) {
        let names = unread(fields).map(|(name, _)| name);
        self.unread.add(place, names.chain(columns.iter().map(String::as_str)));
    }

    /// Looks at a row's question, its solution and what it teaches.
    pub(super) fn texts(&mut self, place: &Place, sample: &Sample) {
        let taught = match &sample.demonstration {
            Some(Demonstration::Completion(text) | Demonstration::Reasoning(text)) => text,
            None => "",
        };
        let texts = [sample.problem.as_str(), &sample.solution, taught];
        if texts.iter().any(|text| text.contains('<')) {
            let is_placeholder = |marker: &&str| sample.problem.contains(*marker);
            self.placeholders.add(place, [PLACEHOLDER].into_iter().filter(is_placeholder));
            let is_written = |marker: &&str| texts.iter().any(|text| text.contains(*marker));
            self.markers.add(place, MARKERS.into_iter().chain(PADS).filter(is_written));
        }
    }

    /// A line for each thing that was seen.
    pub(super) fn lines(&self) -> Vec<String> {
        let read: Vec<&str> = read().collect();
        let unread =
            format!("nothing reads them; the fields that are read are {}", read.join(", "));
        let markers = match self.meaning {
            Markers::AreText => {
                "the model reads them as plain text; data.allow_markers = true would make each its own token"
            }
            Markers::AreTokens => {
                "each becomes a special token of the model, as data.allow_markers = true says"
            }
        };
        let kinds = [
            (&self.unread, "fields", unread.as_str()),
            (
                &self.placeholders,
                "questions with",
                "the model reads it as plain text, because pictures are put before the question; remove it",
            ),
            (&self.markers, "texts with", markers),
        ];
        let told = kinds.into_iter().filter(|(seen, ..)| seen.n_rows > 0);
        told.map(|(seen, what, why)| format!("{what} {seen}: {why}")).collect()
    }
}

impl Seen {
    fn add<'row>(&mut self, place: &Place, words: impl Iterator<Item = &'row str>) {
        let mut is_here = false;
        for word in words {
            is_here = true;
            if !self.words.contains(word) {
                self.words.insert(word.to_owned());
            }
        }
        if is_here {
            if self.n_rows == 0 {
                self.first = place.id();
            }
            self.n_rows += 1;
        }
    }
}

/// `` `a`, `b` in 7 rows, the first a.jsonl:3``
impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = self.words.iter().take(MOST_NAMED).map(|word| format!("`{word}`"));
        f.write_str(&named.collect::<Vec<_>>().join(", "))?;
        match self.words.len().saturating_sub(MOST_NAMED) {
            0 => {}
            n_more => write!(f, " and {n_more} more")?,
        }
        match self.n_rows {
            1 => write!(f, " in the row {}", self.first),
            n_rows => write!(f, " in {n_rows} rows, the first {}", self.first),
        }
    }
}
