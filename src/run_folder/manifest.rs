//! What files must be: a list of names, sizes and checksums, made and checked, of a checkpoint's files and of the records beside it.
//! Not here: which files a checkpoint has (`checkpoint`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use crc32fast::Hasher;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::checkpoint::Damage;
use super::durable::failed;
use super::error::RunFolderError;
use crate::input_file;

/// Raised when a checkpoint's `trainer` folder changes so that older programs would misread it.
const FORMAT: u32 = 1;
/// Where the list is in a checkpoint.
const LIST: &str = "trainer/manifest.json";
/// The beginning of the paths of what only a resumed run needs.
const TRAINER: &str = "trainer/";
/// Bytes read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// The list, as written in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// By path inside the checkpoint, with `/` between folder and file.
    files: BTreeMap<String, Entry>,
}

/// One file's size and checksum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    /// As zlib computes it, eight hexadecimal digits.
    crc32: String,
}

impl Manifest {
    /// Lists all files in a folder and in the folders inside it.
    ///
    /// # Errors
    /// A file or folder cannot be read.
    pub(super) fn of(folder: &Path) -> Result<Self, RunFolderError> {
        let mut names = Vec::new();
        collect(folder, "", &mut names)?;
        let measured = names.into_par_iter().map(|name| {
            let path = folder.join(&name);
            let entry = Entry::of(&path).map_err(failed("read", &path))?;
            Ok((name, entry))
        });
        Ok(Self { format: FORMAT, files: measured.collect::<Result<_, RunFolderError>>()? })
    }

    /// Lists files of one folder as they have been written so far.
    pub(super) fn of_growing<'a>(files: impl IntoIterator<Item = (&'a Path, &'a Growing)>) -> Self {
        let files = files.into_iter().map(|(path, growing)| (name_of(path), growing.entry()));
        Self { format: FORMAT, files: files.collect() }
    }

    /// Whether a file that may have grown since still begins as it is listed; true where it is not listed.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn begins(&self, path: &Path) -> Result<bool, RunFolderError> {
        let Some(listed) = self.files.get(&name_of(path)) else { return Ok(true) };
        match Entry::of_first(path, listed.bytes) {
            Ok(found) => Ok(found == *listed),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(failed("read", path)(source)),
        }
    }

    /// The list of a checkpoint's model, without what only a resumed run needs; none for a folder that is no checkpoint.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn of_model(checkpoint: &Path) -> Result<Option<Self>, RunFolderError> {
        let list = checkpoint.join(LIST);
        if input_file::kind(&list).map_err(failed("read", &list))?.is_none() {
            return Ok(None);
        }
        let damaged =
            |found| RunFolderError::Damaged(Damage { path: checkpoint.to_owned(), found });
        let mut manifest = Self::read(checkpoint).map_err(damaged)?;
        manifest.files.retain(|name, _| !name.starts_with(TRAINER));
        Ok(Some(manifest))
    }

    /// The list of a checkpoint; the error says what is wrong with it.
    pub(super) fn read(checkpoint: &Path) -> Result<Self, String> {
        let text = std::fs::read(checkpoint.join(LIST))
            .map_err(|error| format!("{LIST} cannot be read: {error}"))?;
        let list: Self =
            serde_json::from_slice(&text).map_err(|error| format!("{LIST}: {error}"))?;
        let is_inside = |name: &String| {
            Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
        };
        match list.files.keys().find(|name| !is_inside(name)) {
            None => Ok(list),
            Some(name) => Err(format!("{LIST}: {name:?} is not a path inside of the checkpoint")),
        }
    }

    /// The files of the list, and the list itself.
    pub fn paths(&self, checkpoint: &Path) -> Vec<PathBuf> {
        let names = self.files.keys().map(String::as_str);
        names.chain([LIST]).map(|name| checkpoint.join(name)).collect()
    }

    /// Whether the list names the file.
    pub(super) fn lists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Compares every listed file with the one in the folder; the error says which differs and how.
    /// Files that are not listed are not checked.
    ///
    /// # Errors
    /// A file is not there, or not what the list says.
    pub fn check(&self, folder: &Path) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("it is of format {}, expected {FORMAT}", self.format));
        }
        // Sizes first: they find a file that was cut short without reading the others.
        for (name, expected) in &self.files {
            let found = std::fs::metadata(folder.join(name))
                .map_err(|error| format!("{name} cannot be read: {error}"))?
                .len();
            if found != expected.bytes {
                return Err(format!("{name} has {found} bytes, expected {}", expected.bytes));
            }
        }
        let checked = self.files.par_iter().map(|(name, expected)| {
            let found = Entry::of(&folder.join(name))
                .map_err(|error| format!("{name} cannot be read: {error}"))?;
            if found == *expected {
                return Ok(());
            }
            Err(format!("{name} has the checksum {}, expected {}", found.crc32, expected.crc32))
        });
        // Collected in the list's order, so that of two damaged files always the same is named.
        checked.collect::<Vec<_>>().into_iter().collect()
    }
}

/// A file that is appended to: the size and the checksum of what it should hold.
#[derive(Debug, Clone)]
pub(super) struct Growing {
    bytes: u64,
    checksum: Hasher,
}

impl Growing {
    /// Of what a reader still gives.
    pub(super) fn of(mut reader: impl Read) -> std::io::Result<Self> {
        let mut growing = Self { bytes: 0, checksum: Hasher::new() };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = reader.read(&mut piece)?;
            if count == 0 {
                return Ok(growing);
            }
            growing.add(&piece[..count]);
        }
    }

    /// Takes in what was appended.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.checksum.update(bytes);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn entry(&self) -> Entry {
        Entry { bytes: self.bytes, crc32: format!("{:08x}", self.checksum.clone().finalize()) }
    }
}

impl Entry {
    fn of(path: &Path) -> std::io::Result<Self> {
        Self::of_first(path, u64::MAX)
    }

    /// Of so many bytes at the file's beginning, or of all where it has fewer.
    fn of_first(path: &Path, bytes: u64) -> std::io::Result<Self> {
        Ok(Growing::of(File::open(path)?.take(bytes))?.entry())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Adds the names of all files below `folder/prefix`.
fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), RunFolderError> {
    let here: PathBuf = folder.join(prefix);
    for entry in std::fs::read_dir(&here).map_err(failed("read", &here))? {
        let entry = entry.map_err(failed("read", &here))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(failed("read", &here))?.is_dir() {
            collect(folder, &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the CRC catalogue, then of `zlib.crc32` of Python 3.
    #[test]
    fn checksums_are_those_of_zlib_in_however_many_pieces() {
        let many: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
        for (bytes, expected) in [
            (&b"123456789"[..], "cbf43926"),
            (b"", "00000000"),
            (b"checkpoints/step-000100", "fbee589a"),
            (&many, "5e35712b"),
        ] {
            assert_eq!(Growing::of(bytes).unwrap().entry().crc32, expected);
            let (first, rest) = bytes.split_at(bytes.len() / 3);
            let mut pieces = Growing::of(first).unwrap();
            pieces.add(rest);
            assert_eq!(pieces.entry(), Growing::of(bytes).unwrap().entry());
        }
    }
}
