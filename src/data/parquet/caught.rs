//! What the `parquet` crate panics at in a damaged file becomes an error like any other.
//! Not here: which file it is (the callers).

use parquet::errors::ParquetError;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `read` returns; a panic in it is an error that says what the crate said. Nothing that `read` changes may be used
/// after that.
pub(super) fn caught<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Err(ParquetError::General(said.unwrap_or("pages that cannot be read").to_owned()))
    })
}
