//! Reading a model's JSON files.
//! Not here: what their fields mean (the callers).

use serde::de::DeserializeOwned;

use super::ProcessorError;
use crate::model::files::ModelFiles;

/// The file's contents, or `None` where there is no such file.
pub(super) fn read_text(files: &ModelFiles, name: &str) -> Result<Option<String>, ProcessorError> {
    let unreadable = |source| ProcessorError::Unreadable { file: files.describe(name), source };
    let Some(bytes) = files.read(name).map_err(unreadable)? else { return Ok(None) };
    let text = String::from_utf8(bytes.into_owned())
        .map_err(|error| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
    Ok(Some(text))
}

/// The file parsed, or `None` where there is no such file.
pub(super) fn read<T: DeserializeOwned>(
    files: &ModelFiles,
    name: &str,
) -> Result<Option<T>, ProcessorError> {
    let Some(text) = read_text(files, name)? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| ProcessorError::Json { file: files.describe(name), source })
}
