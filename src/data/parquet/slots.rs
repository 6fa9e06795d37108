//! The values of a parquet column, row by row, with a place for each null.
//!
//! A column stores its values without the nulls, and two levels beside them: the repetition level says where a
//! row begins, the definition level how much of the value's path is there.
//!
//! Not here: which columns are read (`columns`); pictures (`stored`).

use super::caught::caught;
use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Number, Value};
use std::str::Utf8Error;

/// A value as JSON would hold it, or bytes that are not UTF-8.
pub(super) type TextValue = Result<Value, Utf8Error>;

/// The next `n_rows` rows: one slot for each element of a list column, one for any other.
pub(super) fn slots<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    column: &ColumnDescriptor,
    n_rows: usize,
) -> Result<Vec<Vec<Option<T::T>>>, ParquetError> {
    let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (n_read, _, n_slots) =
        reader.read_records(n_rows, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
    let mut rows: Vec<Vec<Option<T::T>>> = Vec::new();
    let mut values = values.into_iter();
    for slot in 0..n_slots {
        if repetitions.get(slot).is_none_or(|level| *level == 0) {
            rows.push(Vec::new());
        }
        let definition = definitions.get(slot).copied().unwrap_or(column.max_def_level());
        let value = if definition == column.max_def_level() { values.next() } else { None };
        // At a lower level the list itself is empty or null.
        if definition >= column.repeated_ancestor_def_level()
            && let Some(row) = rows.last_mut()
        {
            row.push(value);
        }
    }
    if n_read == n_rows && rows.len() == n_rows {
        return Ok(rows);
    }
    let found = rows.len();
    let name = column.path();
    Err(ParquetError::EOF(format!("column {name} ends after {found} of {n_rows} rows")))
}

/// The next `n_rows` rows of a column of text or numbers; a list becomes an array.
///
/// # Errors
/// The file is damaged.
pub(super) fn values(
    reader: ColumnReader,
    column: &ColumnDescriptor,
    n_rows: usize,
) -> Result<Vec<TextValue>, ParquetError> {
    caught(|| values_of_type(reader, column, n_rows))
}

fn values_of_type(
    reader: ColumnReader,
    column: &ColumnDescriptor,
    n_rows: usize,
) -> Result<Vec<TextValue>, ParquetError> {
    let is_unsigned = match column.logical_type_ref() {
        Some(LogicalType::Integer(integer)) => !integer.is_signed,
        _ => matches!(
            column.converted_type(),
            ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64
        ),
    };
    let read = Reading { column, n_rows };
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => read.values(reader, |bytes| text(&bytes)),
        ColumnReader::BoolColumnReader(reader) => read.values(reader, |value| Ok(value.into())),
        ColumnReader::Int32ColumnReader(reader) if is_unsigned => {
            read.values(reader, |value| Ok(value.cast_unsigned().into()))
        }
        ColumnReader::Int64ColumnReader(reader) if is_unsigned => {
            read.values(reader, |value| Ok(value.cast_unsigned().into()))
        }
        ColumnReader::Int32ColumnReader(reader) => read.values(reader, |value| Ok(value.into())),
        ColumnReader::Int64ColumnReader(reader) => read.values(reader, |value| Ok(value.into())),
        // Through its shortest decimal form: 0.1 stays 0.1.
        ColumnReader::FloatColumnReader(reader) => {
            read.values(reader, |value| Ok(decimal(value.to_string().parse().unwrap_or(f64::NAN))))
        }
        ColumnReader::DoubleColumnReader(reader) => read.values(reader, |value| Ok(decimal(value))),
        _ => Err(ParquetError::General(format!("column {} has no text", column.path()))),
    }
}

struct Reading<'file> {
    column: &'file ColumnDescriptor,
    n_rows: usize,
}

impl Reading<'_> {
    fn values<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        value: impl Fn(T::T) -> TextValue,
    ) -> Result<Vec<TextValue>, ParquetError> {
        let rows = slots(&mut reader, self.column, self.n_rows)?;
        let value = |slot: Option<T::T>| slot.map_or(Ok(Value::Null), &value);
        let is_list = self.column.max_rep_level() > 0;
        let row = |row: Vec<Option<T::T>>| {
            let mut values = row.into_iter().map(value);
            if is_list {
                return values.collect::<Result<_, _>>().map(Value::Array);
            }
            values.next().unwrap_or(Ok(Value::Null))
        };
        Ok(rows.into_iter().map(row).collect())
    }
}

fn text(bytes: &ByteArray) -> TextValue {
    str::from_utf8(bytes.data()).map(|text| Value::String(text.to_owned()))
}

/// JSON has no infinities and no NaN: they count as absent.
fn decimal(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
