//! What the `parquet` crate panics at in a damaged file becomes an error like any other, and nothing else is said of it.
//! Not here: which file it is (the callers).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use parquet::errors::ParquetError;

thread_local! {
    /// Whether this thread reads, so that a panic is an error to come.
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// What `read` returns; a panic in it is an error that says what the crate said. Nothing that `read` changes may be used
/// after that.
pub(super) fn caught<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !READS.get() {
                usual(panic);
            }
        }));
    });
    READS.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    READS.set(false);
    outcome.unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Err(ParquetError::General(said.unwrap_or("pages that cannot be read").to_owned()))
    })
}
