//! Parquet files written here: how much is held while rows are fetched, and messages for files that cannot be read.
//! Not here: files that Python's `datasets` wrote (`tests/it/datasets.rs`).

use super::*;
use crate::config::DataFields;
use crate::data::field_names::FieldNames;
use crate::data::image_root::ImageRoot;
use crate::data::{ImageSource, OpenOptions, open};
use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use std::path::PathBuf;
use tempfile::TempDir;

const SCHEMA: &str = "message rows { \
    required binary problem (UTF8); required binary solution (UTF8); required binary image; }";

/// How a test's file is cut into row groups and pages.
struct Layout {
    rows_per_group: usize,
    rows_per_page: usize,
    has_page_index: bool,
}

/// The picture of a row: its number, repeated.
fn picture(row: usize, n_bytes: usize) -> Vec<u8> {
    row.to_le_bytes().repeat(n_bytes / 8)
}

fn written(n_rows: usize, n_bytes: usize, layout: &Layout) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_data_page_row_count_limit(layout.rows_per_page)
        .set_write_batch_size(layout.rows_per_page)
        .set_offset_index_disabled(!layout.has_page_index)
        .set_statistics_enabled(::parquet::file::properties::EnabledStatistics::None)
        .build();
    let file = File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for first in (0..n_rows).step_by(layout.rows_per_group) {
        let rows = first..n_rows.min(first + layout.rows_per_group);
        let columns: [Vec<ByteArray>; 3] = [
            rows.clone().map(|row| ByteArray::from(format!("Question {row}?").as_str())).collect(),
            rows.clone().map(|row| ByteArray::from(row.to_string().as_str())).collect(),
            rows.map(|row| ByteArray::from(picture(row, n_bytes))).collect(),
        ];
        let mut group = writer.next_row_group().unwrap();
        for values in columns {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    (folder, path)
}

fn bytes(image: &ImageSource) -> &[u8] {
    let ImageSource::Encoded { bytes, .. } = image else { panic!("{image:?} has no bytes") };
    bytes
}

fn place(shard: &Shard, row: usize) -> Place {
    Place { path: shard.path.clone(), row: row + 1, unit: Unit::Row }
}

/// Old writers put a group into one page; new ones write pages and their index.
#[test]
fn fetching_among_37_000_rows_in_shuffled_order_keeps_little_in_memory() {
    const N_ROWS: usize = 37_000;
    const MOST: usize = 64 << 20;
    let whole = Layout { rows_per_group: 1000, rows_per_page: 1000, has_page_index: false };
    let paged = Layout { rows_per_group: N_ROWS, rows_per_page: 100, has_page_index: true };
    let cut_without_index =
        Layout { rows_per_group: N_ROWS, rows_per_page: 500, has_page_index: false };
    for (layout, fetched, keeps) in
        [(whole, 3000, true), (paged, 1000, false), (cut_without_index, 200, false)]
    {
        let (_folder, path) = written(N_ROWS, 2048, &layout);
        assert!(std::fs::metadata(&path).unwrap().len() > 3_000_000);
        let kept = Arc::new(KeptGroups::default());
        let names = FieldNames::new(&DataFields::default());
        let shard = Shard::open(&path, kept.clone(), (&names, false)).unwrap();
        let root = ImageRoot::Folder(PathBuf::new());
        assert_eq!(shard.rows().unwrap().len(), N_ROWS);
        for row in crate::rng::permutation(7, 0, N_ROWS).into_iter().take(fetched) {
            let images = shard.pictures(&place(&shard, row), &root).unwrap();
            assert_eq!(bytes(&images[0]), picture(row, 2048), "row {row}");
            assert!(kept.n_bytes() <= MOST);
        }
        assert_eq!(kept.n_bytes() > 0, keeps);
    }
}

#[test]
fn threads_fetch_rows_at_once() {
    let layout = Layout { rows_per_group: 50, rows_per_page: 20, has_page_index: true };
    let (_folder, path) = written(230, 304, &layout);
    let dataset = open(&path, None, &OpenOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let dataset = &dataset;
            scope.spawn(move || {
                for row in crate::rng::permutation(seed, 0, 230) {
                    let sample = dataset.get(row).unwrap();
                    assert_eq!(sample.problem, format!("Question {row}?"));
                    assert_eq!(bytes(&sample.images[0]), picture(row, 304));
                }
            });
        }
    });
}

#[test]
fn a_file_that_is_cut_short_or_changed_is_refused() {
    let layout = Layout { rows_per_group: 50, rows_per_page: 50, has_page_index: false };
    let (_folder, path) = written(50, 300, &layout);
    let whole = std::fs::read(&path).unwrap();
    for n_bytes in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..n_bytes]).unwrap();
        let message = open(&path, None, &OpenOptions::default()).unwrap_err().to_string();
        assert!(message.contains("train.parquet: found "), "{message}");
        assert!(message.contains("expected a whole parquet file\nhint: "), "{message}");
    }
    // The footer is whole; the pages before it are not.
    let mut damaged = whole.clone();
    damaged[4..1000].fill(0xff);
    std::fs::write(&path, &damaged).unwrap();
    assert!(matches!(
        open(&path, None, &OpenOptions::default()),
        Err(DataError::BadParquet { .. } | DataError::BadField { .. })
    ));
}

fn refusal(columns: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let schema = Arc::new(parse_message_type(&format!("message rows {{ {columns} }}")).unwrap());
    let writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Arc::default());
    writer.unwrap().close().unwrap();
    let skip = crate::config::OnBadRow::Skip;
    let options = OpenOptions { on_bad_row: skip, ..OpenOptions::default() };
    open(&path, None, &options).unwrap_err().to_string()
}

#[test]
fn a_column_that_no_row_can_use_is_refused_even_where_bad_rows_are_skipped() {
    const PROBLEM: &str = "optional binary problem (UTF8);";
    const SOLUTION: &str = "optional double ground_truth;";
    let both = format!("{PROBLEM} {SOLUTION}");
    for (columns, parts) in [
        (PROBLEM.to_owned(), ["the columns [problem]", "expected `solution` or `ground_truth` or"]),
        (
            SOLUTION.to_owned(),
            ["the columns [ground_truth]", "expected `problem` or `question` or"],
        ),
        (format!("{PROBLEM} required int32 solution (DATE);"), ["column `solution`", "found DATE"]),
        (
            format!("{SOLUTION} required int64 question;"),
            ["column `question`", "found INT64, expected text"],
        ),
        (
            format!("{both} required group image {{ required int32 a; required int32 b; }}"),
            ["column `image`", "found INT32, INT32"],
        ),
        (
            format!("{both} optional group reasoning {{ required int32 a; required int32 b; }}"),
            ["column `reasoning`", "expected text"],
        ),
        (both.clone(), ["found no row", "expected at least one"]),
    ] {
        let message = refusal(&columns);
        for part in parts.into_iter().chain(["train.parquet: ", "\nhint: "]) {
            assert!(message.contains(part), "{columns}: {message}");
        }
    }
}

/// A file of one row: a question, an answer, and columns by name, marked as text or not, with their bytes.
fn one_row(columns: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let columns =
        [&[("problem (UTF8)", &b"?"[..]), ("solution (UTF8)", &b"7"[..])], columns].concat();
    let fields: Vec<String> =
        columns.iter().map(|(field, _)| format!("required binary {field};")).collect();
    let schema = parse_message_type(&format!("message rows {{ {} }}", fields.join(" "))).unwrap();
    let file = File::create(&path).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, bytes) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let value = ByteArray::from(bytes.to_vec());
        column.typed::<ByteArrayType>().write_batch(&[value], None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    (folder, path)
}

#[test]
fn a_column_that_nothing_reads_is_told_or_refused_where_it_holds_the_pictures() {
    let read = |columns: &[(&str, &[u8])]| {
        let (_folder, path) = one_row(columns);
        open(&path, None, &OpenOptions::default())
    };
    for (column, bytes, found) in [
        ("img (UTF8)", &b"a1"[..], "column `img`: found text"),
        ("source (UTF8)", b"a/b.png", "column `source`: found the picture file a/b.png"),
        ("jpg", b"\xff\xd8", "column `jpg`: found bytes"),
    ] {
        let message = read(&[(column, bytes)]).unwrap_err().to_string();
        assert!(message.contains(found) && message.contains("`file_name`"), "{message}");
    }
    let columns: [(&str, &[u8]); 4] =
        [("id (UTF8)", b"3"), ("level (UTF8)", b"hard"), ("img (UTF8)", b"a1"), ("image", b"\xff")];
    assert!(read(&[("id (UTF8)", b"a.png")]).unwrap().remarks().is_empty());
    let dataset = read(&columns).unwrap();
    let [remark] = dataset.remarks() else { panic!("{:?}", dataset.remarks()) };
    let start = "fields `img`, `level` in the row train.parquet:1: ";
    assert!(remark.starts_with(start), "{remark}");
}

#[test]
fn a_column_that_means_something_else_is_passed_over_where_the_question_stands_elsewhere() {
    let nested = "optional group prompt { required int32 a; required int32 b; }";
    let message = refusal(&format!("{nested} optional double ground_truth;"));
    assert!(message.contains("column `prompt`: found several values in one"), "{message}");
    let problem = "optional binary problem (UTF8);";
    let message = refusal(&format!("{problem} {nested} optional double ground_truth;"));
    assert!(message.contains("found no row"), "{message}");
}

#[test]
fn columns_of_text_are_kept_for_a_reward_that_reads_them() {
    let (_folder, path) = one_row(&[("level (UTF8)", b"hard"), ("image", b"\xff")]);
    let keeping = OpenOptions { keeps_columns: true, ..OpenOptions::default() };
    let dataset = open(&path, None, &keeping).unwrap();
    assert_eq!(dataset.get(0).unwrap().columns["level"], "hard");
    assert_eq!(dataset.get(0).unwrap().columns.len(), 1, "neither pictures nor what is read");
    assert!(dataset.remarks().is_empty());
}
