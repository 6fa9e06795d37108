//! Writes that are on the disk, not in a cache, when they return.
//! Not here: what is written (`checkpoint`, `folder`, `json_lines`).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::error::RunFolderError;

/// Turns an I/O error into ours: `.map_err(failed("write", path))`.
pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> RunFolderError {
    move |source| RunFolderError::File { action, path: path.to_owned(), source }
}

/// Creates or overwrites a file.
pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), RunFolderError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_all()
        })
        .map_err(failed("write", path))
}

/// Creates or replaces a file in one step: a reader finds the old contents or the new ones.
pub(super) fn replace(folder: &Path, name: &str, contents: &[u8]) -> Result<(), RunFolderError> {
    let temporary = folder.join(format!("{name}.tmp"));
    write(&temporary, contents)?;
    rename(&temporary, &folder.join(name))?;
    sync_folder(folder)
}

/// Moves a file or folder within one file system.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), RunFolderError> {
    std::fs::rename(from, to).map_err(failed("move into place", to))
}

/// Makes a folder's own entries durable. On Windows a folder cannot be opened and needs no such step.
pub(super) fn sync_folder(path: &Path) -> Result<(), RunFolderError> {
    if cfg!(unix) {
        File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("write", path))?;
    }
    Ok(())
}
