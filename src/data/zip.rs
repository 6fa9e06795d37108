//! Archives of pictures, read in place: nothing is unpacked to disk.
//!
//! The central directory is read once. A picture's bytes are read through a file handle of their own, so
//! that threads do not wait for each other. What is refused, because no archive of pictures has it:
//! 1. by the archive: names that climb out of the folder or are not plain relative paths; a name twice;
//! 2. by the entry: encryption, compression other than deflate; more than [`MAX_ENTRY_BYTES`], and
//!    more than [`MAX_RATIO`] times its packed size where it is large, whatever its header says.
//!
//! Not here: which entry a row means (`image_root`); decoding (`processor`).

use super::DataError;
use ::zip::read::ZipFileEntry;
use ::zip::{CompressionMethod, ZipArchive};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The largest picture file that is read from an archive.
pub const MAX_ENTRY_BYTES: u64 = 64 << 20;
/// How many times its packed size a large entry may be. Deflate reaches about 1000 on zeros alone; picture files are
/// compressed already.
pub const MAX_RATIO: u64 = 100;
/// Entries up to this size may have any ratio: they cannot fill memory, and a drawing on white compresses well.
const SMALL_ENTRY_BYTES: u64 = 4 << 20;

/// An archive of pictures.
#[derive(Debug)]
pub struct PictureArchive {
    path: PathBuf,
    directory: ZipArchive<BufReader<File>>,
}

impl PictureArchive {
    /// Reads the archive's directory and checks every name in it.
    ///
    /// # Errors
    /// The file cannot be read, is no zip archive, has a name twice, or one that climbs out of the folder.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = open_file(path)?;
        let directory =
            ZipArchive::new(BufReader::new(file)).map_err(|error| broken(path, &error))?;
        let archive = Self { path: path.to_owned(), directory };
        if archive.directory.has_duplicate_names() {
            return Err(broken(path, &"a name twice in its directory"));
        }
        for name in archive.directory.file_names() {
            let name = name.map_err(|error| broken(path, &error))?;
            if !is_inside(&name) {
                return Err(archive.refused(
                    &name,
                    "a name that leads out of the archive's folder".to_owned(),
                    "do not use this archive: it was made to overwrite files",
                ));
            }
        }
        Ok(archive)
    }

    /// Where the archive is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entry of this name, if it is there.
    ///
    /// # Errors
    /// It is there, and its header says that it cannot be read or should not be.
    pub fn find(&self, name: &str) -> Result<Option<usize>, DataError> {
        let Some(entry_idx) = self.directory.index_for_name(name) else { return Ok(None) };
        let entry = self.entry(entry_idx)?;
        if entry.is_dir() {
            return Ok(None);
        }
        self.check(&entry)?;
        Ok(Some(entry_idx))
    }

    /// The bytes of an entry that was found.
    ///
    /// # Errors
    /// The archive cannot be read, or the entry is damaged, or holds more than its header says.
    pub fn read(&self, entry_idx: usize) -> Result<Vec<u8>, DataError> {
        let entry = self.entry(entry_idx)?;
        self.check(&entry)?;
        let (name, size) = (entry_name(&entry), entry.size());
        let damaged =
            |found: String| self.refused(&name, found, "the archive is damaged; get it again");
        let mut file = BufReader::new(open_file(&self.path)?);
        let reader = entry
            .with_reader(&mut file, ::zip::read::ZipReadOptions::new())
            .map_err(|error| damaged(error.to_string()))?;
        // Reading one byte more than the header announces is enough to detect a wrong size.
        let mut bytes = Vec::with_capacity(size as usize);
        reader
            .take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(error.to_string()))?;
        if bytes.len() as u64 != size {
            return Err(damaged(format!("not the {size} bytes that its header says")));
        }
        Ok(bytes)
    }

    /// The size and the CRC-32 of an entry that was found, as the directory has them; reading it compares them.
    ///
    /// # Errors
    /// The archive's directory cannot be read.
    pub fn checksum(&self, entry_idx: usize) -> Result<(u64, u32), DataError> {
        let entry = self.entry(entry_idx)?;
        Ok((entry.size(), entry.crc32()))
    }

    /// The name of an entry that was found, for messages.
    pub fn name(&self, entry_idx: usize) -> String {
        self.entry(entry_idx).map_or_else(|_| String::new(), |entry| entry_name(&entry))
    }

    fn entry(&self, entry_idx: usize) -> Result<ZipFileEntry<'_>, DataError> {
        self.directory.by_index_data(entry_idx).map_err(|error| broken(&self.path, &error))
    }

    fn check(&self, entry: &ZipFileEntry) -> Result<(), DataError> {
        let (size, packed) = (entry.size(), entry.compressed_size());
        let (found, hint) = if entry.encrypted() {
            ("an encrypted entry".to_owned(), "pack the archive again without a password")
        } else if !matches!(
            entry.compression(),
            CompressionMethod::Stored | CompressionMethod::Deflated
        ) {
            let method = entry.compression();
            (format!("compression {method}"), "pack the archive again with `zip` and no options")
        } else if size > MAX_ENTRY_BYTES {
            let found = format!("{size} bytes, more than the {MAX_ENTRY_BYTES} a picture may have");
            (found, "unpack the archive and look at this entry")
        } else if size > SMALL_ENTRY_BYTES && size / MAX_RATIO > packed {
            let found = format!("{size} bytes packed into {packed}, as in a decompression bomb");
            (found, "unpack the archive and look at this entry")
        } else {
            return Ok(());
        };
        Err(self.refused(&entry_name(entry), found, hint))
    }

    fn refused(&self, entry: &str, found: String, hint: &'static str) -> DataError {
        DataError::BadArchiveEntry { path: self.path.clone(), entry: entry.to_owned(), found, hint }
    }
}

fn open_file(path: &Path) -> Result<File, DataError> {
    crate::input_file::open(path)
        .map_err(|source| DataError::Unreadable { path: path.to_owned(), source })
}

fn broken(path: &Path, found: &dyn std::fmt::Display) -> DataError {
    DataError::BadArchive { path: path.to_owned(), found: found.to_string() }
}

fn entry_name(entry: &ZipFileEntry) -> String {
    String::from_utf8_lossy(entry.name_raw()).into_owned()
}

/// Whether a name is a plain relative path on every system.
fn is_inside(name: &str) -> bool {
    let has_drive = name.as_bytes().get(1) == Some(&b':');
    !(name.starts_with('/') || has_drive || name.contains(['\\', '\0']))
        && name.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::zip::ZipWriter;
    use ::zip::write::SimpleFileOptions;
    use std::io::Write;
    use tempfile::TempDir;

    const METHODS: [CompressionMethod; 2] =
        [CompressionMethod::Stored, CompressionMethod::Deflated];

    fn bytes(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in entries {
            let options = SimpleFileOptions::default().compression_method(method);
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn opened(bytes: &[u8]) -> (TempDir, Result<PictureArchive, DataError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.zip");
        std::fs::write(&path, bytes).unwrap();
        let archive = PictureArchive::open(&path);
        (folder, archive)
    }

    /// What finding and reading `name` says.
    fn message(bytes: &[u8], name: &str) -> String {
        let (_folder, archive) = opened(bytes);
        let archive = archive.unwrap();
        archive.find(name).and_then(|entry| archive.read(entry.unwrap())).unwrap_err().to_string()
    }

    fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        assert_eq!(old.len(), new.len());
        let mut bytes = bytes.to_vec();
        let places: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
        assert_eq!(places.len(), 2, "once in its header, once in the directory");
        for at in places {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        bytes
    }

    /// `bytes` with a field of the only entry's header and directory record set.
    fn with_field(bytes: &[u8], offset: usize, value: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let directory = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        // A record in the directory has two more bytes before the fields that both have.
        for start in [offset, directory + 2 + offset] {
            bytes[start..start + value.len()].copy_from_slice(value);
        }
        bytes
    }

    const FLAGS: usize = 6;
    const METHOD: usize = 8;
    const SIZE: usize = 22;

    #[test]
    fn entries_are_read_by_name_from_several_threads() {
        let contents: Vec<Vec<u8>> = (0_u8..40).map(|i| vec![i; 100 * usize::from(i)]).collect();
        let names: Vec<String> = (0..40).map(|i| format!("images/{i}.png")).collect();
        let entries: Vec<(&str, &[u8])> =
            names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
        for method in METHODS {
            let (_folder, archive) = opened(&bytes(&entries, method));
            let archive = archive.unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for (name, content) in &entries {
                            let entry = archive.find(name).unwrap().unwrap();
                            assert_eq!(&archive.read(entry).unwrap(), content);
                        }
                    });
                }
            });
            assert_eq!(archive.find("images/40.png").unwrap(), None);
            assert_eq!(archive.find("images").unwrap(), None);
        }
    }

    #[test]
    fn names_that_climb_out_are_refused_by_name() {
        let good = bytes(&[("aa/b/evil.png", b"x")], CompressionMethod::Stored);
        for name in
            ["../b/evil.png", "aa/../evil.pn", "/a/b/evil.png", "C:/b/evil.png", "aa\\b\\evil.pn"]
        {
            let (_folder, archive) =
                opened(&replaced(&good, b"aa/b/evil.png", format!("{name:_<13}").as_bytes()));
            let message = archive.unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("leads out of"), "{message}");
        }
        assert!(is_inside("a..b/..c/d..") && !is_inside("a/.."));
    }

    #[test]
    fn a_name_twice_is_refused() {
        let two = bytes(&[("a.png", b"x"), ("b.png", b"y")], CompressionMethod::Stored);
        let (_folder, archive) = opened(&replaced(&two, b"b.png", b"a.png"));
        let message = archive.unwrap_err().to_string();
        assert!(message.contains("images.zip: found a name twice"), "{message}");
    }

    #[test]
    fn a_decompression_bomb_is_refused_by_what_its_header_says() {
        let zeros = vec![0; 20 << 20];
        let bomb = bytes(&[("bomb.bmp", &zeros)], CompressionMethod::Deflated);
        assert!(bomb.len() < 100_000);
        assert!(message(&bomb, "bomb.bmp").contains("decompression bomb"));
        let large =
            with_field(&bomb, SIZE, &u32::try_from(MAX_ENTRY_BYTES + 1).unwrap().to_le_bytes());
        assert!(message(&large, "bomb.bmp").contains("67108865 bytes, more than"));
        let small = bytes(&[("white.bmp", &zeros[..1 << 20])], CompressionMethod::Deflated);
        let (_folder, archive) = opened(&small);
        let archive = archive.unwrap();
        assert_eq!(
            archive.read(archive.find("white.bmp").unwrap().unwrap()).unwrap().len(),
            1 << 20
        );
    }

    #[test]
    fn a_header_that_lies_is_caught_where_its_promise_ends() {
        let zeros = vec![0; 20 << 20];
        let bomb = bytes(&[("bomb.bmp", &zeros)], CompressionMethod::Deflated);
        for promised in [1000_u32, 0] {
            let message = message(&with_field(&bomb, SIZE, &promised.to_le_bytes()), "bomb.bmp");
            assert!(message.contains("entry `bomb.bmp`: found "), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_said_before_it_is_read() {
        let good = bytes(&[("a.png", b"picture")], CompressionMethod::Stored);
        let encrypted = with_field(&good, FLAGS, &1_u16.to_le_bytes());
        assert!(message(&encrypted, "a.png").contains("found an encrypted entry"));
        let lzma = with_field(&good, METHOD, &14_u16.to_le_bytes());
        assert!(message(&lzma, "a.png").contains("found compression "));
        let damaged = replaced_once(&good, b"picture", b"Picture");
        assert!(message(&damaged, "a.png").contains("archive is damaged"));
    }

    fn replaced_once(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        [&bytes[..at], new, &bytes[at + old.len()..]].concat()
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let good = bytes(&[("a.png", b"picture")], CompressionMethod::Stored);
        for broken in [&good[..good.len() - 10], b"", b"PK\x03\x04"] {
            let message = opened(broken).1.unwrap_err().to_string();
            assert!(message.contains("expected a zip archive of pictures"), "{message}");
        }
    }
}
