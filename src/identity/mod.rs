//! What an outcome is computed from: equal identities, equal outcomes. Files count by their contents, never by their names.
//!
//! In reading order: [`fingerprint`] says what models, rows and files hold, [`kept`] remembers it while a file is as it was;
//! [`evaluation`] collects all that decides answers, [`run`] all that decides a run's numbers.
//! Not here: where identities are compared: in a folder of runs (`experiment::runs`), on continuing an evaluation
//! (`eval::answers_file`), on resuming a run (`run_folder::origin`).

pub mod evaluation;
pub mod fingerprint;
pub mod kept;
pub mod run;

use std::path::PathBuf;

use serde_json::{Map, Value};

use self::kept::Kept;
use crate::config::ConfigError;
use crate::data::DataError;
use crate::model::error::ModelError;
use crate::model::files::ModelFiles;
use crate::reward::Rule;
use crate::run_folder::RunFolderError;

/// The version of the program's numbers, raised with each change after which the same model, data and settings give other
/// answers or other weights: with every entry under **Numbers** in the change log.
pub const VERSION: u32 = 1;

/// Why it cannot be said what an outcome is computed from.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The run file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A row, a picture, a task or a template.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file of the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A checkpoint that is damaged, or a configuration that cannot be compared.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// Recorded completions.
    #[error("cannot read {}: {source}\nhint: check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

fn with_version(rule: Rule) -> String {
    format!("{} v{}", rule.name(), rule.version())
}

/// The object with a key for each file of the model.
fn with_model(
    own: Value,
    kept: &Kept,
    files: &ModelFiles,
) -> Result<Map<String, Value>, IdentityError> {
    let own = if let Value::Object(own) = own { own } else { Map::new() };
    Ok(own.into_iter().chain(fingerprint::of_model(kept, files)?).collect())
}
