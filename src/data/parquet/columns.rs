//! Which columns of a parquet file hold what, and whether their types can be used.
//! Not here: reading them (`slots`, `stored`); the names themselves (`listed`).

use crate::data::DataError;
use crate::data::field_names::FieldNames;
use crate::data::remarks::is_unread;
use parquet::basic::{Compression, ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::path::Path;
use std::sync::Arc;

/// The columns that are read.
pub(super) struct Columns {
    /// Read when the file is opened: text, numbers, and paths of pictures.
    pub(super) text: Vec<TextColumn>,
    /// Read when a row is fetched.
    pub(super) pictures: Option<PictureColumn>,
    /// Whether a column of pictures or of their paths is among those that are read.
    pub(super) has_pictures: bool,
    /// The names of the other columns, except those that identify rows.
    pub(super) unread: Vec<String>,
}

/// A column of text, numbers or lists of text.
pub(super) struct TextColumn {
    pub(super) name: String,
    /// Its place among the file's leaf columns.
    pub(super) leaf: usize,
}

/// A column of pictures: `{bytes, path}` as `datasets` writes them, lists of those, or bytes alone.
pub(super) struct PictureColumn {
    pub(super) name: String,
    /// The leaf column of the pictures' bytes.
    pub(super) bytes: usize,
    /// The leaf column of their paths, which are used where there are no bytes.
    pub(super) path: Option<usize>,
    pub(super) is_list: bool,
}

impl Columns {
    /// # Errors
    /// A column that every row needs is missing, or a column has a type or a compression that is not read.
    pub(super) fn find(
        path: &Path,
        metadata: &ParquetMetaData,
        (names, keeps_columns): (&FieldNames, bool),
    ) -> Result<Self, DataError> {
        let found = Finder { path, metadata, schema: metadata.file_metadata().schema_descr() };
        let columns = found.schema.root_schema().get_fields();
        let all = || columns.iter().map(|column| column.name().to_owned());
        found.require(&names.problem)?;
        found.require(&names.solution)?;
        let mut unread: Vec<String> = all().filter(|name| is_unread(name, names)).collect();
        let is_solution = |column: &ColumnDescriptor| is_text(column) || is_number(column);
        let mut text = found.first_usable(&names.problem, "text", is_text, &mut unread)?;
        let expected = "text or a number";
        text.extend(found.first_usable(&names.solution, expected, is_solution, &mut unread)?);
        for name in names.completion.iter().chain(&names.reasoning) {
            text.extend(found.text(name, "text", is_text)?);
        }
        let (mut pictures, mut has_pictures) = (None, false);
        for name in &names.image {
            match (found.pictures(name)?, &pictures) {
                (Some(found), None) => pictures = Some(found),
                (Some(second), Some(_)) => unread.push(second.name),
                (None, _) => {
                    let paths = found.paths(name)?;
                    has_pictures |= paths.is_some();
                    text.extend(paths);
                }
            }
        }
        if keeps_columns {
            let others = all().filter(|name| !names.all().any(|known| known == name));
            let kept: Vec<TextColumn> = others.filter_map(|name| found.kept(name)).collect();
            unread.retain(|name| kept.iter().all(|column| column.name != *name));
            text.extend(kept);
        }
        has_pictures |= pictures.is_some();
        Ok(Self { text, pictures, has_pictures, unread })
    }
}

/// The leaf columns below a column.
pub(super) fn leaves(schema: &SchemaDescriptor, name: &str) -> Vec<usize> {
    let is_below = |leaf: &usize| schema.get_column_root(*leaf).name() == name;
    (0..schema.num_columns()).filter(is_below).collect()
}

struct Finder<'file> {
    path: &'file Path,
    metadata: &'file ParquetMetaData,
    schema: &'file SchemaDescriptor,
}

impl Finder<'_> {
    fn leaves(&self, name: &str) -> Vec<usize> {
        leaves(self.schema, name)
    }

    fn require(&self, names: &[Arc<str>]) -> Result<(), DataError> {
        if names.iter().any(|name| !self.leaves(name).is_empty()) {
            return Ok(());
        }
        let columns = self.schema.root_schema().get_fields();
        let found: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        Err(DataError::MissingColumn {
            path: self.path.to_owned(),
            found: found.join(", "),
            expected: names.join("` or `"),
        })
    }

    /// The columns of these names. One that cannot be used is an error unless another before it can be, since `prompt` and
    /// `answer` mean other things elsewhere.
    fn first_usable(
        &self,
        names: &[Arc<str>],
        expected: &'static str,
        is_usable: impl Fn(&ColumnDescriptor) -> bool,
        unread: &mut Vec<String>,
    ) -> Result<Vec<TextColumn>, DataError> {
        let mut usable = Vec::new();
        for name in names {
            match self.text(name, expected, &is_usable) {
                Ok(column) => usable.extend(column),
                Err(error) if usable.is_empty() => return Err(error),
                Err(_) => unread.push(name.to_string()),
            }
        }
        Ok(usable)
    }

    fn text(
        &self,
        name: &str,
        expected: &'static str,
        is_usable: impl Fn(&ColumnDescriptor) -> bool,
    ) -> Result<Option<TextColumn>, DataError> {
        let leaves = self.leaves(name);
        let [leaf] = leaves.as_slice() else {
            return match leaves.first() {
                Some(_) => Err(self.bad(name, "several values in one", expected)),
                None => Ok(None),
            };
        };
        let column = self.schema.column(*leaf);
        if !is_usable(&column) || column.max_rep_level() > 0 {
            return Err(self.bad(name, type_name(&column), expected));
        }
        self.check_compression(name, *leaf)?;
        Ok(Some(TextColumn { name: name.to_owned(), leaf: *leaf }))
    }

    /// A column that a reward command is given: plain text or numbers, compressed as can be read.
    fn kept(&self, name: String) -> Option<TextColumn> {
        let leaves = self.leaves(&name);
        let [leaf] = leaves.as_slice() else { return None };
        let column = self.schema.column(*leaf);
        let is_plain = is_marked_text(&column) || is_number(&column);
        let is_read =
            is_plain && column.max_rep_level() == 0 && self.check_compression(&name, *leaf).is_ok();
        is_read.then_some(TextColumn { name, leaf: *leaf })
    }

    /// A column of pictures; `None` if it holds their paths alone, or does not exist.
    fn pictures(&self, name: &str) -> Result<Option<PictureColumn>, DataError> {
        let leaves = self.leaves(name);
        let is_group = leaves.len() > 1;
        let named = |part: &str| {
            let is_named = |&&leaf: &&usize| self.schema.column(leaf).name() == part;
            leaves.iter().find(is_named).copied()
        };
        let bytes = match leaves.as_slice() {
            [only] if !is_marked_text(&self.schema.column(*only)) => Some(*only),
            [] | [_] => return Ok(None),
            _ => named("bytes"),
        };
        let is_usable = |&leaf: &usize| {
            let column = self.schema.column(leaf);
            column.physical_type() == PhysicalType::BYTE_ARRAY && column.max_rep_level() <= 1
        };
        let Some(bytes) = bytes.filter(is_usable) else {
            let found = leaves.iter().map(|&leaf| type_name(&self.schema.column(leaf)));
            return Err(self.bad(name, found.collect::<Vec<_>>().join(", "), PICTURES));
        };
        let path = if is_group { named("path").filter(is_usable) } else { None };
        for leaf in [Some(bytes), path].into_iter().flatten() {
            self.check_compression(name, leaf)?;
        }
        let is_list = self.schema.column(bytes).max_rep_level() > 0;
        Ok(Some(PictureColumn { name: name.to_owned(), bytes, path, is_list }))
    }

    /// A column of paths, or of lists of paths.
    fn paths(&self, name: &str) -> Result<Option<TextColumn>, DataError> {
        let [leaf] = self.leaves(name)[..] else { return Ok(None) };
        if self.schema.column(leaf).max_rep_level() > 1 {
            return Err(self.bad(name, "lists of lists", PICTURES));
        }
        self.check_compression(name, leaf)?;
        Ok(Some(TextColumn { name: name.to_owned(), leaf }))
    }

    fn check_compression(&self, name: &str, leaf: usize) -> Result<(), DataError> {
        for group in self.metadata.row_groups() {
            let compression = group.column(leaf).compression();
            let is_read = matches!(
                compression,
                Compression::UNCOMPRESSED
                    | Compression::SNAPPY
                    | Compression::GZIP(_)
                    | Compression::ZSTD(_)
            );
            if !is_read {
                let found = format!("compression {compression}");
                return Err(self.bad(name, found, "snappy, gzip, zstd or none"));
            }
        }
        Ok(())
    }

    fn bad(&self, column: &str, found: impl Into<String>, expected: &'static str) -> DataError {
        let (path, column) = (self.path.to_owned(), column.to_owned());
        DataError::BadColumn { path, column, found: found.into(), expected: expected.into() }
    }
}

const PICTURES: &str = "pictures as {bytes, path}, bytes, a path, or a list of one of them";

/// Whether the writer says that the bytes are text.
fn is_marked_text(column: &ColumnDescriptor) -> bool {
    is_empty(column)
        || column.physical_type() == PhysicalType::BYTE_ARRAY
            && (column.converted_type() == ConvertedType::UTF8
                || matches!(column.logical_type_ref(), Some(LogicalType::String)))
}

/// Some writers leave text unmarked.
fn is_text(column: &ColumnDescriptor) -> bool {
    is_empty(column) || column.physical_type() == PhysicalType::BYTE_ARRAY
}

/// A column of nulls alone may have any type.
fn is_empty(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::Unknown))
}

/// Plain numbers and truth values, which `listed` refuses by row; no dates, times or decimals.
fn is_number(column: &ColumnDescriptor) -> bool {
    use PhysicalType::{BOOLEAN, DOUBLE, FLOAT, INT32, INT64};
    let is_plain = matches!(column.logical_type_ref(), None | Some(LogicalType::Integer(_)))
        && !matches!(
            column.converted_type(),
            ConvertedType::DECIMAL
                | ConvertedType::DATE
                | ConvertedType::TIME_MILLIS
                | ConvertedType::TIME_MICROS
                | ConvertedType::TIMESTAMP_MILLIS
                | ConvertedType::TIMESTAMP_MICROS
        );
    is_plain && matches!(column.physical_type(), BOOLEAN | INT32 | INT64 | FLOAT | DOUBLE)
}

fn type_name(column: &ColumnDescriptor) -> String {
    let list = if column.max_rep_level() > 0 { "lists of " } else { "" };
    match column.converted_type() {
        ConvertedType::NONE => format!("{list}{}", column.physical_type()),
        converted => format!("{list}{converted}"),
    }
}
