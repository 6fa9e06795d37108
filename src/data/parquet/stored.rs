//! Pictures stored in a parquet file, fetched by row.
//!
//! Where the file's page index cuts a row group into pages, or where the group is large, the row's page alone is
//! read. Other groups are read whole, since older writers put a whole one into a single page, and the last few
//! are kept.
//!
//! Not here: how many are kept (`kept_groups`); decoding (`processor`).

use super::caught::caught;
use super::columns::PictureColumn;
use super::kept_groups::MAX_GROUP_BYTES;
use super::{Shard, slots};
use crate::data::image_root::{ImageRoot, climbs};
use crate::data::listed::climbing;
use crate::data::row::Place;
use crate::data::{DataError, ImageSource};
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// A picture as a row has it. Clones share the page that it was read from.
#[derive(Clone)]
pub(super) struct StoredPicture {
    bytes: Option<ByteArray>,
    path: Option<ByteArray>,
}

impl Shard {
    /// The pictures of the row at `place`, whose paths start at `root` where they have no bytes.
    ///
    /// # Errors
    /// The file cannot be read, or one of a list of pictures is null.
    pub(in crate::data) fn pictures(
        &self,
        place: &Place,
        root: &ImageRoot,
    ) -> Result<Vec<ImageSource>, DataError> {
        let Some(column) = &self.columns.pictures else { return Ok(Vec::new()) };
        let stored = self.row(column, place.row - 1)?;
        let mut images = Vec::with_capacity(stored.len());
        for (idx, picture) in stored.into_iter().enumerate() {
            match (picture.bytes, picture.path) {
                (Some(bytes), _) => {
                    let nth = if column.is_list { format!("[{idx}]") } else { String::new() };
                    let name = format!("{place}: column `{}{nth}`", column.name);
                    images.push(ImageSource::Encoded { bytes: bytes.data().into(), name });
                }
                (None, Some(path)) => {
                    let path = String::from_utf8_lossy(path.data());
                    if climbs(&path) {
                        return Err(climbing(place, &column.name, &path));
                    }
                    images.push(root.find(&path, &column.name, place)?.image);
                }
                (None, None) if column.is_list => return Err(null_in_list(place, &column.name)),
                (None, None) => {}
            }
        }
        Ok(images)
    }

    fn row(&self, column: &PictureColumn, row: usize) -> Result<Vec<StoredPicture>, DataError> {
        let group_idx = self.first_rows.partition_point(|first| *first <= row).saturating_sub(1);
        let row = row - self.first_rows[group_idx];
        let n_bytes = self.n_bytes(column, group_idx);
        let is_kept = n_bytes <= MAX_GROUP_BYTES && !self.is_cut(column, group_idx);
        let (rows, idx) = if is_kept {
            let key = (self.path.clone(), group_idx);
            let whole = 0..self.n_rows(group_idx);
            let read = || self.read(column, group_idx, whole);
            (self.kept.get_or_read(key, n_bytes, read)?, row)
        } else {
            (Arc::new(self.read(column, group_idx, row..row + 1)?), 0)
        };
        let past_end = || ParquetError::EOF(format!("no row {row} in row group {group_idx}"));
        rows.get(idx).cloned().ok_or_else(|| self.bad(&past_end()))
    }

    /// What reading a row group's pictures brings into memory, at most.
    fn n_bytes(&self, column: &PictureColumn, group_idx: usize) -> usize {
        let group = self.metadata.row_group(group_idx);
        let leaves = [Some(column.bytes), column.path].into_iter().flatten();
        let sizes = leaves.map(|leaf| group.column(leaf).uncompressed_size());
        sizes.map(|size| usize::try_from(size).unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
    }

    /// Whether the page index cuts the row group into several pages.
    fn is_cut(&self, column: &PictureColumn, group_idx: usize) -> bool {
        let pages = self.metadata.page_index_for_row_group(group_idx);
        pages.page_locations(column.bytes).is_some_and(|pages| pages.len() > 1)
    }

    fn read(
        &self,
        column: &PictureColumn,
        group_idx: usize,
        rows: Range<usize>,
    ) -> Result<Vec<Vec<StoredPicture>>, DataError> {
        let file = self.open_file()?;
        let bytes = self.read_leaf(&file, group_idx, column.bytes, rows.clone())?;
        let paths = match column.path {
            Some(leaf) => self.read_leaf(&file, group_idx, leaf, rows)?,
            None => bytes.iter().map(|row| vec![None; row.len()]).collect(),
        };
        let pair = |(bytes, path)| StoredPicture { bytes, path };
        let row =
            |(bytes, paths): (Vec<_>, Vec<_>)| bytes.into_iter().zip(paths).map(pair).collect();
        Ok(bytes.into_iter().zip(paths).map(row).collect())
    }

    fn read_leaf(
        &self,
        file: &Arc<File>,
        group_idx: usize,
        leaf: usize,
        rows: Range<usize>,
    ) -> Result<Vec<Vec<Option<ByteArray>>>, DataError> {
        let column = self.metadata.file_metadata().schema_descr().column(leaf);
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            self.column_reader(file, group_idx, leaf)?
        else {
            let found = format!("column {} holds no bytes", column.path());
            return Err(self.bad(&ParquetError::General(found)));
        };
        let read = || {
            reader.skip_records(rows.start)?;
            slots::slots(&mut reader, &column, rows.len())
        };
        caught(read).map_err(|error| self.bad(&error))
    }
}

fn null_in_list(place: &Place, column: &str) -> DataError {
    place.bad_field(
        column,
        "null in a list",
        "a picture",
        "shorten the list; a row without a picture has an empty one",
    )
}
