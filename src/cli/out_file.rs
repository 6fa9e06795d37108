//! Files that a command is asked to write, checked before it begins to compute.
//! Not here: the run's folder (`train`).

use std::path::Path;

use super::failure::UsageError;

/// Checks that `path` can be a file in a folder that there is; nothing is created.
///
/// # Errors
/// It is a folder, or its own folder is not there.
pub(super) fn check_out_file(flag: &str, path: &Path) -> Result<(), UsageError> {
    if path.is_dir() {
        let problem = format!("{flag} {}: found a folder, expected a file", path.display());
        return Err(UsageError::new(problem, "name a file in it"));
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            let (path, parent) = (path.display(), parent.display());
            let problem = format!("{flag} {path}: found no folder {parent}, expected one");
            Err(UsageError::new(problem, "create the folder first"))
        }
        Some(_) | None => Ok(()),
    }
}
