//! By what a file's change is noticed without reading it, on systems that number their files.
//! Not here: what is kept of an unchanged file (`kept`).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

/// Device, inode, and the times of the last change of contents and of anything else, seconds and nanoseconds. The last of
/// them cannot be set, so that a file with its old time restored is noticed too.
pub(super) fn marks(metadata: &Metadata) -> Vec<i64> {
    vec![
        metadata.dev().cast_signed(),
        metadata.ino().cast_signed(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ]
}

/// When the file was changed last; none before 1970.
pub(super) fn changed(metadata: &Metadata) -> Option<SystemTime> {
    let since_epoch = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}
