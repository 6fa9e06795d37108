//! Parquet files, as Python's `datasets` writes them: a shard of a split each.
//!
//! The footer and the text columns are read when a shard is opened, so that answers can be checked; a row's
//! pictures when the row is fetched, through a file handle of its own. Read with the column readers of the
//! `parquet` crate: Arrow's arrays would triple its build time, and the many types that they distinguish
//! (`large_string`, dictionaries, views) are one type in the file.
//!
//! Not here: which files make up a split (`shards`); what the fields mean (`listed`).

mod caught;
mod columns;
mod kept_groups;
mod slots;
mod stored;
mod unread;

pub(super) use kept_groups::KeptGroups;

use self::caught::caught;
use self::columns::{Columns, TextColumn};
use super::DataError;
use super::field_names::FieldNames;
use super::row::{Fields, Place, Row, Unit};
use ::parquet::column::reader::ColumnReader;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use ::parquet::file::properties::ReaderProperties;
use ::parquet::file::reader::RowGroupReader;
use ::parquet::file::serialized_reader::SerializedRowGroupReader;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// One file of a split.
pub(super) struct Shard {
    path: Arc<Path>,
    metadata: ParquetMetaData,
    columns: Columns,
    /// For each row group, the number of rows before it.
    first_rows: Vec<usize>,
    n_rows: usize,
    kept: Arc<KeptGroups>,
}

impl Shard {
    /// Reads the footer.
    ///
    /// - `kept`: shared by the shards of a data set
    /// - `keeps_columns`: whether columns of text and numbers that nothing else reads are read as well
    ///
    /// # Errors
    /// The file cannot be read, is not whole, or lacks a column that every row needs.
    pub(super) fn open(
        path: &Path,
        kept: Arc<KeptGroups>,
        (names, keeps_columns): (&FieldNames, bool),
    ) -> Result<Arc<Self>, DataError> {
        let file = open_file(path)?;
        let metadata = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata =
            caught(|| metadata.parse_and_finish(&file)).map_err(|error| bad(path, &error))?;
        let columns = Columns::find(path, &metadata, (names, keeps_columns))?;
        let (mut first_rows, mut n_rows) = (Vec::new(), 0_usize);
        for group in metadata.row_groups() {
            first_rows.push(n_rows);
            require_places(path, group)?;
            let in_group = usize::try_from(group.num_rows()).ok();
            n_rows =
                in_group.and_then(|in_group| n_rows.checked_add(in_group)).ok_or_else(|| {
                    let found = format!("a row group of {} rows", group.num_rows());
                    bad(path, &ParquetError::General(found))
                })?;
        }
        let shard = Self { path: path.into(), metadata, columns, first_rows, n_rows, kept };
        shard.refuse_hidden_pictures(names)?;
        Ok(Arc::new(shard))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The column that holds the rows' pictures.
    pub(super) fn picture_column(&self) -> Option<&String> {
        self.columns.pictures.as_ref().map(|column| &column.name)
    }

    /// Whether the rows' pictures are in this file, rather than named by it.
    pub(super) fn has_pictures(&self) -> bool {
        self.columns.pictures.is_some()
    }

    /// The text of every row; a row whose text is not UTF-8 is an error of its own.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn rows(&self) -> Result<Vec<Result<Row, DataError>>, DataError> {
        let mut rows = Vec::new();
        for group_idx in 0..self.first_rows.len() {
            let (file, columns) = (self.open_file()?, &self.columns.text);
            let values = columns.iter().map(|column| self.values(&file, group_idx, column));
            let mut values = values
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .map(Vec::into_iter)
                .collect::<Vec<_>>();
            for _ in 0..self.n_rows(group_idx) {
                let place = Place { path: self.path.clone(), row: rows.len() + 1, unit: Unit::Row };
                let fields: Result<Fields, DataError> = columns
                    .iter()
                    .zip(&mut values)
                    .filter_map(|(column, values)| Some((column, values.next()?)))
                    .map(|(column, value)| match value {
                        Ok(value) => Ok((column.name.clone(), value)),
                        Err(_) => Err(not_text(&place, &column.name)),
                    })
                    .collect();
                rows.push(fields.map(|fields| Row { place, fields }));
            }
        }
        Ok(rows)
    }

    fn values(
        &self,
        file: &Arc<File>,
        group_idx: usize,
        column: &TextColumn,
    ) -> Result<Vec<slots::TextValue>, DataError> {
        let reader = self.column_reader(file, group_idx, column.leaf)?;
        let descriptor = self.metadata.file_metadata().schema_descr().column(column.leaf);
        let n_rows = self.n_rows(group_idx);
        slots::values(reader, &descriptor, n_rows).map_err(|error| self.bad(&error))
    }

    fn n_rows(&self, group_idx: usize) -> usize {
        let next = self.first_rows.get(group_idx + 1).unwrap_or(&self.n_rows);
        next - self.first_rows[group_idx]
    }

    /// A reader of one leaf column of a row group, at its first row.
    fn column_reader(
        &self,
        file: &Arc<File>,
        group_idx: usize,
        leaf: usize,
    ) -> Result<ColumnReader, DataError> {
        let group = self.metadata.row_group(group_idx);
        let pages = self.metadata.page_index_for_row_group(group_idx);
        let properties = Arc::new(ReaderProperties::builder().build());
        let reader = || {
            SerializedRowGroupReader::new(file.clone(), group, pages, properties)?
                .get_column_reader(leaf)
        };
        caught(reader).map_err(|error| self.bad(&error))
    }

    /// A handle of its own for each reader: clones of one share their position, and threads would race.
    fn open_file(&self) -> Result<Arc<File>, DataError> {
        open_file(&self.path).map(Arc::new)
    }

    fn bad(&self, error: &ParquetError) -> DataError {
        bad(&self.path, error)
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shard({})", self.path.display())
    }
}

/// The crate panics where a column's place in the file is negative.
fn require_places(path: &Path, group: &RowGroupMetaData) -> Result<(), DataError> {
    for column in group.columns() {
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let length = column.compressed_size();
        if start < 0 || length < 0 {
            let name = column.column_path();
            let found = format!("column {name} of {length} bytes at byte {start}");
            return Err(bad(path, &ParquetError::General(found)));
        }
    }
    Ok(())
}

fn open_file(path: &Path) -> Result<File, DataError> {
    crate::input_file::open(path)
        .map_err(|source| DataError::Unreadable { path: path.to_owned(), source })
}

fn bad(path: &Path, error: &ParquetError) -> DataError {
    let found = error.to_string();
    DataError::BadParquet { path: path.to_owned(), found }
}

fn not_text(place: &Place, column: &str) -> DataError {
    place.bad_field(
        column,
        "bytes that are not UTF-8",
        "text",
        "write the column again as strings; pictures belong in a column `image`",
    )
}

#[cfg(test)]
mod tests;
