//! Where the program is linked to CUDA's libraries: it has not started if one is missing.
//! Not here: systems and processors on which they are loaded later (`loaded`).

use super::MissingLibrary;

/// # Errors
/// Never.
pub fn load() -> Result<(), MissingLibrary> {
    Ok(())
}
