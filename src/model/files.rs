//! Where a model's files come from: a folder on disk, or the tiny model compiled into the binary.
//! Not here: what the files mean (`config`, `weights`, `processor`).

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// One file of the model that is compiled into the binary.
#[derive(Debug)]
pub struct BuiltinFile {
    /// File name as it would stand in a model folder.
    pub name: &'static str,
    /// Whole contents.
    pub bytes: &'static [u8],
}

/// A model's files.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// A folder in the Hugging Face layout.
    Folder(PathBuf),
    /// Files compiled into the binary.
    Builtin(&'static [BuiltinFile]),
}

impl ModelFiles {
    /// The file's contents, or `None` where there is no such file.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn read(&self, name: &str) -> std::io::Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Folder(folder) => match std::fs::read(folder.join(name)) {
                Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Self::Builtin(files) => Ok(files
                .iter()
                .find(|file| file.name == name)
                .map(|file| Cow::Borrowed(file.bytes))),
        }
    }

    /// The file's name for an error message: its path, or `tiny/NAME` for a built-in file.
    pub fn describe(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Builtin(_) => Path::new("tiny").join(name).display().to_string(),
        }
    }
}
