//! Flags that name what is read, checked before the command begins to compute.
//! Not here: reading it (`crate::data`, `crate::input_file`); flags that name a file to write (`out_file`).

use std::path::Path;

use super::failure::UsageError;
use crate::input_file;

/// Checks that what `--data` names is there.
///
/// # Errors
/// It is not, or the system cannot say.
pub(super) fn require_data(path: &Path) -> Result<(), UsageError> {
    let name = path.display();
    match input_file::kind(path) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            let hint = "relative paths start at the working folder";
            Err(UsageError::new(format!("--data {name}: no such file or folder"), hint))
        }
        Err(error) => {
            let hint = "check the path and its permissions";
            Err(UsageError::new(format!("--data {name}: cannot be read: {error}"), hint))
        }
    }
}
