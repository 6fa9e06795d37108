//! A model's files, wherever they are: a folder on disk, an adapter's folder over another model, or the tiny model compiled
//! into the binary.
//! Not here: what the files mean (`config`, `weights`, `processor`); finding the folder (`source`).

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

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
    /// LoRA's factors, and the model that they are for.
    Adapter(Arc<AdapterFiles>),
}

/// An adapter's files: PEFT's folder.
#[derive(Debug)]
pub struct AdapterFiles {
    /// The folder. Of the model's files it may hold those of the processor, which then count.
    pub folder: PathBuf,
    /// The model that the factors are for.
    pub base: ModelFiles,
}

impl AdapterFiles {
    /// Whose file of this name counts: the adapter's, or the model's.
    fn of(&self, name: &str) -> ModelFiles {
        let folder = ModelFiles::Folder(self.folder.clone());
        let is_own = ADAPTER_FILES.contains(&name)
            || (PROCESSOR_FILES.contains(&name) && self.folder.join(name).is_file());
        if is_own { folder } else { self.base.clone() }
    }
}

/// The settings of an adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The factors of an adapter.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// Both.
pub(super) const ADAPTER_FILES: [&str; 2] = [ADAPTER_CONFIG, ADAPTER_WEIGHTS];
/// What a processor is made of.
pub(super) const PROCESSOR_FILES: [&str; 11] = [
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

/// A source of bytes that can be read from any position.
pub trait ReadSeek: Read + Seek + Send {
    /// When it was written last; `None` for what never is.
    ///
    /// # Errors
    /// The system cannot say.
    fn modified(&self) -> std::io::Result<Option<SystemTime>>;
}

impl ReadSeek for File {
    fn modified(&self) -> std::io::Result<Option<SystemTime>> {
        self.metadata()?.modified().map(Some)
    }
}

impl ReadSeek for Cursor<&'static [u8]> {
    fn modified(&self) -> std::io::Result<Option<SystemTime>> {
        Ok(None)
    }
}

/// A file opened for reading in pieces.
pub struct OpenFile {
    /// Its contents, from the start.
    pub reader: Box<dyn ReadSeek>,
    /// Its size in bytes.
    pub bytes: u64,
}

impl ModelFiles {
    /// An adapter's folder over the model that it is for.
    pub fn adapter(folder: PathBuf, base: Self) -> Self {
        Self::Adapter(Arc::new(AdapterFiles { folder, base }))
    }

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
            Self::Adapter(files) => files.of(name).read(name),
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
            Self::Adapter(files) => files.of(name).open(name),
        }
    }

    /// The file's name for an error message: its path, or `tiny/NAME` for a built-in file.
    pub fn describe(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Builtin(_) => Path::new("tiny").join(name).display().to_string(),
            Self::Adapter(files) => files.of(name).describe(name),
        }
    }

    /// Where the file of this name is on disk, or would be; `None` for a built-in file.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.join(name)),
            Self::Builtin(_) => None,
            Self::Adapter(files) => files.of(name).path(name),
        }
    }

    /// The folders that they are in.
    pub fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Folder(folder) => vec![folder],
            Self::Builtin(_) => Vec::new(),
            Self::Adapter(files) => [vec![files.folder.as_path()], files.base.folders()].concat(),
        }
    }

    /// The model without an adapter.
    pub fn base(&self) -> &Self {
        match self {
            Self::Adapter(files) => &files.base,
            Self::Folder(_) | Self::Builtin(_) => self,
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
