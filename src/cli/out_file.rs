//! Flags that name a file to write, checked before the command begins to compute.
//! Not here: writing it (`crate::out_file`); the run's folder (`run_folder`).

use std::path::Path;

use super::failure::UsageError;
use crate::eval::answers_file::partial_of;
use crate::out_file::Destination;

/// Checks that the file or device that `path` leads to can be written; nothing is created.
///
/// # Errors
/// `path` leads to a folder, follows a broken chain of links, or names a file in a folder that does not exist.
pub(super) fn check_out_file(flag: &str, path: &Path) -> Result<(), UsageError> {
    let name = path.display();
    let file = match Destination::of(path) {
        Ok(Destination::File(file)) => file,
        Ok(Destination::Through(_) | Destination::Stdout) => return Ok(()),
        Err(error) => {
            return Err(UsageError::new(format!("{flag} {name}: {error}"), "name another file"));
        }
    };
    if file.is_dir() {
        let problem = format!("{flag} {name}: found a folder, expected a file");
        return Err(UsageError::new(problem, "name a file in it"));
    }
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            let problem =
                format!("{flag} {name}: found no folder {}, expected one", parent.display());
            Err(UsageError::new(problem, "create the folder first"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks that no answers are replaced, which took long to compute: `path` leads to an empty file, to none, or to a device. An
/// evaluation that was interrupted may be continued over them.
///
/// # Errors
/// A file is there, it holds something, and no unfinished evaluation is beside it.
pub(super) fn check_unwritten(flag: &str, path: &Path) -> Result<(), UsageError> {
    let Ok(Destination::File(file)) = Destination::of(path) else { return Ok(()) };
    match file.metadata() {
        Ok(found) if found.len() > 0 && !partial_of(&file).exists() => {
            let problem = format!("{flag} {}: the file is there already", path.display());
            Err(UsageError::new(problem, "--overwrite replaces it; or name another file"))
        }
        _ => Ok(()),
    }
}
