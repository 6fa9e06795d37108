//! Whether a file is the one that the hub announced: its size, and the checksum in its etag.
//!
//! The etag of a file in large-file storage is its SHA-256, that of any other its git blob id, the
//! SHA-1 of `blob SIZE\0` and the contents. Some mirrors make up etags; then only the size is compared.
//! Not here: what is done with a damaged file (`download`).

use std::fs::File;
use std::io::{Read, Result};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Hexadecimal digits of a SHA-256 and of a SHA-1.
const SHA256_DIGITS: usize = 64;
const SHA1_DIGITS: usize = 40;

/// How much is read at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// What differs between a file and its announcement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) found: String,
    pub(super) expected: String,
}

/// Compares a file, read from its start, with what was announced; `None` where they agree.
///
/// # Errors
/// The file cannot be read.
pub(super) fn mismatch(file: &File, bytes: u64, etag: &str) -> Result<Option<Mismatch>> {
    let found_bytes = file.metadata()?.len();
    if found_bytes != bytes {
        let (found, expected) = (format!("{found_bytes} bytes"), format!("{bytes} bytes"));
        return Ok(Some(Mismatch { found, expected }));
    }
    let is_hexadecimal = etag.bytes().all(|digit| digit.is_ascii_hexdigit());
    let (name, found) = match etag.len() {
        SHA256_DIGITS if is_hexadecimal => ("sha256", digest(Sha256::new(), file)?),
        SHA1_DIGITS if is_hexadecimal => {
            ("git sha1", digest(Sha1::new_with_prefix(format!("blob {bytes}\0")), file)?)
        }
        _ => {
            tracing::warn!(etag, "the etag is not a checksum: only the size was verified");
            return Ok(None);
        }
    };
    let expected = format!("{name} {}", etag.to_ascii_lowercase());
    let found = format!("{name} {found}");
    Ok((found != expected).then_some(Mismatch { found, expected }))
}

/// The checksum's hexadecimal digits, with the file's contents added to what `hasher` has already.
fn digest(mut hasher: impl Digest, mut file: &File) -> Result<String> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let n_read = file.read(&mut buffer)?;
        if n_read == 0 {
            let digits = hasher.finalize();
            let digits: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(digits.concat());
        }
        hasher.update(&buffer[..n_read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' | sha256sum`, and `... | git hash-object --stdin`.
    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    fn compare(contents: &str, bytes: u64, etag: &str) -> Option<Mismatch> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, contents).unwrap();
        mismatch(&File::open(path).unwrap(), bytes, etag).unwrap()
    }

    #[test]
    fn whole_files_match_what_sha256sum_and_git_say() {
        assert_eq!(compare("hello\n", 6, SHA256), None);
        assert_eq!(compare("hello\n", 6, &SHA256.to_uppercase()), None);
        assert_eq!(compare("hello\n", 6, GIT), None);
        assert_eq!(compare("", 0, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"), None);
    }

    #[test]
    fn one_letter_is_noticed_and_so_is_one_byte_less() {
        for etag in [SHA256, GIT] {
            let found = compare("hullo\n", 6, etag).unwrap();
            assert!(found.expected.ends_with(etag) && found.found.contains("sha"), "{found:?}");
        }
        let short = compare("hello", 6, "made-up").unwrap();
        assert_eq!((&*short.found, &*short.expected), ("5 bytes", "6 bytes"));
        assert_eq!(compare("hullo\n", 6, "made-up"), None, "nothing but the size is known");
    }
}
