//! One repository's folder in the cache, laid out as Python's `huggingface_hub` does.
//!
//! `refs/REVISION` holds a commit, `snapshots/COMMIT/NAME` is a link to `blobs/ETAG`, and
//! `.locks/FOLDER/ETAG.lock` beside the folders keeps two programs, ours or Python's, from fetching
//! the same blob. One addition of ours, which Python overlooks: `listings/COMMIT`, the names of the
//! commit's files, so that a complete copy is known to be complete without asking.
//! Not here: where the cache is (`settings`); filling it (`download`).

use std::fs::{File, TryLockError};
use std::path::{Component, Path, PathBuf};

use hf_hub::{Cache, CacheRepo};

use super::error::HubError;
use super::repository::Repository;

/// Digits of a commit.
const COMMIT_DIGITS: usize = 40;

/// One repository's folder in the cache.
#[derive(Debug)]
pub(super) struct Folder {
    layout: CacheRepo,
    root: PathBuf,
    locks: PathBuf,
    revision: String,
}

impl Folder {
    pub(super) fn new(cache: &Cache, repository: &Repository) -> Self {
        let addresses = repository.addresses();
        let name = addresses.folder_name();
        Self {
            root: cache.path().join(&name),
            locks: cache.path().join(".locks").join(name),
            layout: cache.repo(addresses),
            revision: repository.revision.clone(),
        }
    }

    /// The commit that the revision led to when it was last fetched.
    pub(super) fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let commit = std::fs::read_to_string(self.root.join("refs").join(&self.revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_plain_name(commit))
    }

    /// Notes that the revision leads to this commit.
    pub(super) fn set_commit(&self, commit: &str) -> Result<(), HubError> {
        if self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs");
        self.layout.create_ref(commit).map_err(HubError::storage(&path, commit.len() as u64))
    }

    /// The folder that a commit's files stand in.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// A file's contents.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(etag)
    }

    /// Links the file's name to its blob, which must be whole by now.
    pub(super) fn link(&self, etag: &str, pointer: &Path) -> Result<(), HubError> {
        let blob = self.blob(etag);
        create_parent(pointer)?;
        if pointer.is_symlink() {
            // The blob that it leads to has been removed.
            std::fs::remove_file(pointer).map_err(HubError::storage(pointer, 0))?;
        }
        let depth = pointer.strip_prefix(&self.root).map_or(0, |name| name.components().count());
        let up: PathBuf = (1..depth).map(|_| Component::ParentDir).collect();
        if symlink(&up.join("blobs").join(etag), pointer).is_ok() {
            return Ok(());
        }
        // On a file system without links the contents are copied, as Python does.
        std::fs::copy(&blob, pointer).map(drop).map_err(HubError::storage(pointer, 0))
    }

    /// Waits until no other process fetches the blob; the lock is held until the file is dropped.
    pub(super) fn lock(&self, etag: &str) -> Result<File, HubError> {
        let path = self.locks.join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(HubError::storage(&path, 0))?;
        let outcome = match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                tracing::warn!(lock = %path.display(), "another process fetches this file; waiting");
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        if let Err(error) = outcome {
            // Some network file systems have no locks; the checksum still detects a damaged file.
            tracing::debug!(%error, lock = %path.display(), "not locked");
        }
        Ok(file)
    }

    /// The names of the commit's files, where they were asked for before.
    pub(super) fn listing(&self, commit: &str) -> Option<Vec<String>> {
        let names = std::fs::read_to_string(self.root.join("listings").join(commit)).ok()?;
        Some(names.lines().map(str::to_owned).collect())
    }

    /// Keeps the names of the commit's files: they can never change.
    pub(super) fn keep_listing(&self, commit: &str, names: &[String]) -> Result<(), HubError> {
        let path = self.root.join("listings").join(commit);
        if path.exists() {
            return Ok(());
        }
        create_parent(&path)?;
        let half = path.with_extension(std::process::id().to_string());
        std::fs::write(&half, names.join("\n"))
            .and_then(|()| std::fs::rename(&half, &path))
            .map_err(HubError::storage(&path, 0))
    }

    /// The names of the commit's files that are in the cache, sorted; links to nothing left out.
    pub(super) fn names_on_disk(&self, commit: &str) -> Vec<String> {
        let mut names = Vec::new();
        collect_names(&self.snapshot(commit), "", &mut names);
        names.sort();
        names
    }
}

/// Adds the names of the files below `folder`, with slashes.
fn collect_names(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        if path.is_dir() {
            collect_names(&path, &format!("{name}/"), names);
        } else if path.exists() {
            names.push(name);
        }
    }
}

/// Whether a revision is a commit, which leads to itself.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == COMMIT_DIGITS && revision.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Whether what a server calls a commit or an etag can be a file's name here.
pub(super) fn is_plain_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether what a server calls a file stays below the folder that it is put in.
pub(super) fn is_plain_path(name: &str) -> bool {
    let is_normal = |part: Component| matches!(part, Component::Normal(_));
    !name.is_empty()
        && !name.contains(|c: char| c == '\\' || c.is_control())
        && !name.ends_with('/')
        && Path::new(name).components().all(is_normal)
}

pub(super) fn create_parent(path: &Path) -> Result<(), HubError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(HubError::storage(parent, 0))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_cache_are_refused() {
        for name in ["config.json", "data/train-0.parquet", "a b/ü.txt", ".gitattributes"] {
            assert!(is_plain_path(name), "{name}");
        }
        for name in ["", "../x", "a/../../x", "/etc/passwd", "a\\..\\x", "a\nb", "a/", "./a"] {
            assert!(!is_plain_path(name), "{name}");
        }
        for name in ["", "..", ".", "a/b", "../x", "a b"] {
            assert!(!is_plain_name(name), "{name}");
        }
        assert!(is_plain_name("ce013625030ba8dba906f756967f9e9ca394464a-2"));
    }

    #[test]
    fn links_are_relative_however_deep_the_file_stands() {
        let cache = tempfile::tempdir().unwrap();
        let cache = Cache::new(cache.path().to_owned());
        let folder = Folder::new(&cache, &Repository::dataset("org/set"));
        let blob = folder.blob("etag");
        create_parent(&blob).unwrap();
        std::fs::write(&blob, "contents").unwrap();
        for name in ["README.md", "data/train/0000.parquet"] {
            let pointer = folder.snapshot("c0ffee").join(name);
            folder.link("etag", &pointer).unwrap();
            assert_eq!(std::fs::read_to_string(&pointer).unwrap(), "contents");
            let target = std::fs::read_link(&pointer).unwrap();
            assert!(target.starts_with("../../"), "{}", target.display());
        }
        assert_eq!(folder.names_on_disk("c0ffee"), ["README.md", "data/train/0000.parquet"]);
        std::fs::remove_file(blob).unwrap();
        assert!(folder.names_on_disk("c0ffee").is_empty(), "links to nothing are no files");
    }
}
