//! Files that are read whole or in a stream: regular ones alone, and no larger than the reader allows.
//! Not here: the limits (`limits`); files that are written (`out_file`).
//!
//! A pipe or a device would block or never end, so both are refused before they are opened; so is a file that is too
//! large, by its length. What grows while it is read is cut at the limit and refused as well.

use std::fs::{File, FileType};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// What is at a path, links followed; `None` where there is nothing. Unlike [`Path::exists`] it takes no failure to look for
/// an answer.
///
/// # Errors
/// The system cannot say: its disk fails, or a folder may not be searched.
pub fn kind(path: &Path) -> Result<Option<FileType>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found.file_type())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that there is nothing at a path, which may be one that no file can have.
pub fn is_absent(error: &Error) -> bool {
    use ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidInput | InvalidFilename)
}

/// A regular file opened for reading, however large.
///
/// # Errors
/// It cannot be opened; it is a folder, a pipe or a device ([`ErrorKind::InvalidData`]).
pub fn open(path: &Path) -> Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(refused("not a regular file: pipes and devices are not read".to_owned()));
    }
    File::open(path)
}

/// The same, of at most `most` bytes.
///
/// # Errors
/// As [`open`]; or it is larger ([`ErrorKind::InvalidData`]).
pub fn open_at_most(path: &Path, most: u64) -> Result<File> {
    let file = open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > most {
        return Err(too_large(&format!("{bytes} bytes"), most));
    }
    Ok(file)
}

/// The contents of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open_at_most`], or it cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut contents = Vec::new();
    open_at_most(path, most)?.take(most + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > most {
        return Err(too_large("more", most));
    }
    Ok(contents)
}

/// The same as text.
///
/// # Errors
/// As [`read`], or it is not UTF-8 ([`ErrorKind::InvalidData`]).
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let not_text = |_| refused("stream did not contain valid UTF-8".to_owned());
    String::from_utf8(read(path, most)?).map_err(not_text)
}

fn too_large(found: &str, most: u64) -> Error {
    refused(format!("found {found}, expected at most {most} bytes"))
}

/// What a reader of the error takes for wrong input, rather than a failing disk.
fn refused(reason: String) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "1234").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "1234");
        let error = read(&path, 3).unwrap_err();
        assert_eq!(error.to_string(), "found 4 bytes, expected at most 3 bytes");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_and_pipes_are_refused_without_being_opened() {
        for path in ["/dev/zero", "/dev/null"] {
            let error = open(Path::new(path)).unwrap_err();
            assert!(error.to_string().starts_with("not a regular file"), "{path}: {error}");
        }
    }
}
