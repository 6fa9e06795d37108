//! Warnings about rows that can be used: fields that nothing reads, several for the same thing, and markers that are
//! written out in texts. Each is given once for a data set.
//! Not here: rows that cannot be used (`listed`), pictures under a wrong name (`picture_like`).

use super::field_names::FieldNames;
use super::parquet::Shard;
use super::row::{Fields, Place};
use super::{Demonstration, Sample};
use crate::processor::{MARKERS, Markers, PADS};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
    keeps_columns: bool,
    counts: BTreeMap<String, usize>,
    unread: Seen,
    doubled: Seen,
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

/// Whether nothing reads a field of this name, and it does not identify rows.
pub(super) fn is_unread(name: &str, names: &FieldNames) -> bool {
    !NAMES_OF_ROWS.contains(&name) && !names.all().any(|known| known == name)
}

/// The fields that hold something and are not read, except those that identify the row.
pub(super) fn unread<'row>(
    fields: &'row Fields,
    names: &FieldNames,
) -> impl Iterator<Item = (&'row str, &'row Value)> {
    let named = fields.iter().map(|(name, value)| (name.as_str(), value));
    named.filter(|(name, value)| is_unread(name, names) && !value.is_null())
}

impl Remarks {
    /// Nothing yet.
    ///
    /// - `meaning`: that of markers in the rows
    /// - `keeps_columns`: whether a reward reads the fields that nothing else does
    pub(super) fn new(meaning: Markers, keeps_columns: bool) -> Self {
        let [unread, doubled, placeholders, markers] = std::array::from_fn(|_| Seen::default());
        let counts = BTreeMap::new();
        Self { meaning, keeps_columns, counts, unread, doubled, placeholders, markers }
    }

    /// Looks at a row; a table's columns that are not read when it is opened are not among `fields`.
    pub(super) fn fields(
        &mut self,
        place: &Place,
        fields: &Fields,
        names: &FieldNames,
        shard: Option<&Shard>,
    ) {
        let columns = shard.map_or(&[][..], Shard::unread_columns);
        let held = fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name);
        for name in held.chain(columns).chain(shard.and_then(Shard::picture_column)) {
            match self.counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(self.counts.insert(name.clone(), 1)),
            }
        }
        let unread = unread(fields, names).map(|(name, _)| name).filter(|_| !self.keeps_columns);
        self.unread.add(place, unread.chain(columns.iter().map(String::as_str)));
        let doubled = names.doubled(fields);
        let doubled: Vec<String> =
            doubled.iter().map(|(read, not)| format!("`{read}` is read, `{not}` is not")).collect();
        self.doubled.add(place, doubled.iter().map(String::as_str));
    }

    /// The fields that hold something, and in how many rows each does.
    pub(super) fn counts(&self) -> Vec<(String, usize)> {
        self.counts.iter().map(|(name, count)| (name.clone(), *count)).collect()
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
    pub(super) fn lines(&self, names: &FieldNames) -> Vec<String> {
        let read: Vec<&str> = names.all().collect();
        let unread = format!(
            "nothing reads them; the fields that are read are {}; data.fields gives them other names",
            read.join(", ")
        );
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
        let told =
            told.map(|(seen, what, why)| format!("{what} {}{}: {why}", seen.names(), seen.rows()));
        let doubled = self.doubled.words.iter().cloned().collect::<Vec<_>>().join(", ");
        let doubled = (self.doubled.n_rows > 0)
            .then(|| format!("fields for the same thing{}: {doubled}", self.doubled.rows()));
        told.chain(doubled).collect()
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

    /// `` `a`, `b` and 2 more``
    fn names(&self) -> String {
        let named = self.words.iter().take(MOST_NAMED).map(|word| format!("`{word}`"));
        let named = named.collect::<Vec<_>>().join(", ");
        match self.words.len().saturating_sub(MOST_NAMED) {
            0 => named,
            n_more => format!("{named} and {n_more} more"),
        }
    }

    /// ` in 7 rows, the first a.jsonl:3`
    fn rows(&self) -> String {
        match self.n_rows {
            1 => format!(" in the row {}", self.first),
            n_rows => format!(" in {n_rows} rows, the first {}", self.first),
        }
    }
}
