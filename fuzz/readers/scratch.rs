//! A folder for the files of one thread's inputs.
//! Not here: what reads them.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder for scratch files");
}

/// The path of a file with these bytes; the next one of the same name replaces it.
pub(super) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder(Path::new(name).parent()).join(Path::new(name).file_name().expect("a name"));
    std::fs::write(&path, bytes).expect("a scratch file");
    path
}

/// A folder inside of the thread's.
pub(super) fn folder(name: Option<&Path>) -> PathBuf {
    let path = FOLDER.with(|folder| folder.path().join(name.unwrap_or(Path::new(""))));
    std::fs::create_dir_all(&path).expect("a scratch folder");
    path
}
