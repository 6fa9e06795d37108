//! By what a file's change is noticed without reading it, on systems that do not number their files.
//! Not here: what is kept of an unchanged file (`kept`).

use std::fs::Metadata;
use std::time::SystemTime;

/// The time of the last change of contents, seconds and nanoseconds.
pub(super) fn marks(metadata: &Metadata) -> Vec<i64> {
    let since_epoch =
        changed(metadata).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    since_epoch.map_or(Vec::new(), |since| {
        vec![since.as_secs().cast_signed(), i64::from(since.subsec_nanos())]
    })
}

/// When the file was changed last, where the system says.
pub(super) fn changed(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}
