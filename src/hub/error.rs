//! The ways the hub, the network or the disk can fail a download, each with a hint.
//! Not here: what is wrong inside a file that arrived whole (`model::error`, `data::error`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::printable;

/// Why files of the hub could not be obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Something is not in the cache, and nothing may be fetched.
    #[error(
        "{repository}: {missing} not in the cache {}, and HF_HUB_OFFLINE forbids to fetch\n\
         hint: unset HF_HUB_OFFLINE, or point HF_HOME at a cache that holds it all", cache.display()
    )]
    Offline {
        /// Kind, id and revision.
        repository: String,
        /// What is not there.
        missing: String,
        /// The cache that was looked into.
        cache: PathBuf,
    },
    /// No connection, or one that was cut time and again.
    #[error(
        "{url}: request error: {found}\n\
         hint: check the network; HF_ENDPOINT names a mirror, a repeated command resumes where this one stopped"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the system said.
        found: String,
    },
    /// The hub asks for a token, or the token gives no access.
    #[error("{url}: access denied: found {status}{found}, expected 200\nhint: {hint}")]
    Denied {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// What the hub said.
        found: String,
        /// Whether a token is needed or another one.
        hint: &'static str,
    },
    /// There is no such repository, revision or file.
    #[error(
        "{url}: {missing} not found: found 404{found}, expected 200\n\
         hint: check the spelling of the name; a private one looks absent without HF_TOKEN"
    )]
    NotFound {
        /// What was asked for.
        url: String,
        /// Repository, revision or file.
        missing: &'static str,
        /// What the hub said.
        found: String,
    },
    /// The hub is overloaded, limits our requests, or refuses for a reason of its own.
    #[error("{url}: found {status}{found}, expected 200\nhint: {hint}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// What the hub said.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// An answer that is not of the hub's protocol.
    #[error(
        "{url}: found {found}, expected {expected}\n\
         hint: HF_ENDPOINT must name a Hugging Face hub or a mirror of it"
    )]
    Protocol {
        /// What was asked for.
        url: String,
        /// What came.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// A file that arrived damaged, twice.
    #[error(
        "{url}: fetched twice, both times damaged: found {found}, expected {expected}\n\
         hint: a proxy, a mirror or this disk changes files in transit"
    )]
    Corrupt {
        /// What was asked for.
        url: String,
        /// Size or checksum of what came.
        found: String,
        /// Size or checksum that the hub announced.
        expected: String,
    },
    /// No space left for a file.
    #[error(
        "{}: the disk is full, expected space for {bytes} bytes\n\
         hint: free space, or point HF_HOME at a larger disk; what was fetched is kept and completed", path.display()
    )]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// Its size when whole.
        bytes: u64,
    },
    /// The cache cannot be read or written.
    #[error("{}: cannot be written: {source}\nhint: check permissions, or point HF_HOME elsewhere", path.display())]
    Storage {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The repository does not hold what was asked for.
    #[error("{repository}: found {found}, expected {expected}\nhint: {hint}")]
    Contents {
        /// Kind, id and revision.
        repository: String,
        /// What it holds.
        found: String,
        /// What was wanted.
        expected: String,
        /// What to do.
        hint: &'static str,
    },
}

impl HubError {
    /// Turns what the system said about `path`, which will have `bytes` bytes, into an error.
    pub(super) fn storage(path: &Path, bytes: u64) -> impl Fn(std::io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned(), bytes }
            }
            _ => Self::Storage { path: path.to_owned(), source },
        }
    }

    /// The message without its hint, fit for a terminal.
    pub(super) fn first_line(&self) -> String {
        printable::line(self.to_string().lines().next().unwrap_or_default())
    }
}
