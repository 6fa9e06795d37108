//! A model's files, wherever they are: a folder on disk, or the tiny model compiled into the binary.
//! Not here: what the files mean (`config`, `weights`, `processor`); finding the folder (`source`).

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use crate::input_file;
use crate::limits::MODEL_JSON_BYTES;

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

/// A source of bytes that can be read from any position.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// A file opened for reading in pieces.
pub struct OpenFile {
    /// Its contents, from the start.
    pub reader: Box<dyn ReadSeek>,
    /// Its size in bytes.
    pub bytes: u64,
}

impl ModelFiles {
    /// The file's contents, or `None` where there is no such file.
    ///
    /// # Errors
    /// The file exists and cannot be read, is no regular file, or larger than any of a model that is read whole.
    pub fn read(&self, name: &str) -> std::io::Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Folder(folder) => {
                found(input_file::read(&folder.join(name), MODEL_JSON_BYTES).map(Cow::Owned))
            }
            Self::Builtin(files) => Ok(builtin(files, name).map(Cow::Borrowed)),
        }
    }

    /// The file opened for reading in pieces, or `None` where there is no such file.
    ///
    /// # Errors
    /// The file exists and cannot be opened, or is no regular file.
    pub fn open(&self, name: &str) -> std::io::Result<Option<OpenFile>> {
        match self {
            Self::Folder(folder) => {
                let Some(file) = found(input_file::open(&folder.join(name)))? else {
                    return Ok(None);
                };
                let bytes = file.metadata()?.len();
                Ok(Some(OpenFile { reader: Box::new(file), bytes }))
            }
            Self::Builtin(files) => Ok(builtin(files, name).map(|contents| OpenFile {
                reader: Box::new(Cursor::new(contents)),
                bytes: contents.len() as u64,
            })),
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

fn found<T>(outcome: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn builtin(files: &'static [BuiltinFile], name: &str) -> Option<&'static [u8]> {
    files.iter().find(|file| file.name == name).map(|file| file.bytes)
}
