//! When two runs, two models, two evaluations are the same: short fingerprints of all that decides them.
//! Not here: what is done with them (`runs`, `measure`).

use std::io::{Read as _, Seek as _, SeekFrom};

use sha2::{Digest, Sha256};

use crate::model::error::ModelError;
use crate::model::files::{ModelFiles, OpenFile};
use crate::model::weights::weight_files;

/// Small files that decide what a model answers.
const SIDE_FILES: [&str; 5] = [
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.json",
];
/// Pieces of a weights file that are looked at, and their size: training moves every weight, so a few thousand of
/// them tell two models apart without reading gigabytes.
const N_PIECES: u64 = 64;
const PIECE_BYTES: u64 = 4096;

/// The first 64 bits of a text's SHA-256, in hex: enough to name a folder, not to resist an attacker.
pub fn of_text(text: &str) -> String {
    short(Sha256::new().chain_update(text))
}

/// A model's fingerprint: its small files whole, of its weights the sizes and evenly spaced pieces. The same wherever
/// the files lie.
///
/// # Errors
/// A file cannot be read.
pub fn of_model(files: &ModelFiles) -> Result<String, ModelError> {
    let mut hash = Sha256::new();
    for name in SIDE_FILES {
        let failed = |source| ModelError::Read { file: files.describe(name), source };
        if let Some(bytes) = files.read(name).map_err(failed)? {
            hash.update(name);
            hash.update(bytes);
        }
    }
    for name in weight_files(files)? {
        let failed = |source| ModelError::Read { file: files.describe(&name), source };
        if let Some(file) = files.open(&name).map_err(failed)? {
            hash.update(&name);
            add_pieces(&mut hash, file).map_err(failed)?;
        }
    }
    Ok(short(hash))
}

fn add_pieces(hash: &mut Sha256, mut file: OpenFile) -> std::io::Result<()> {
    hash.update(file.bytes.to_le_bytes());
    let mut piece = Vec::new();
    let last = file.bytes.saturating_sub(PIECE_BYTES);
    for idx in 0..N_PIECES {
        file.reader.seek(SeekFrom::Start(last / (N_PIECES - 1) * idx))?;
        piece.clear();
        (&mut file.reader).take(PIECE_BYTES).read_to_end(&mut piece)?;
        hash.update(&piece);
    }
    Ok(())
}

fn short(hash: Sha256) -> String {
    let first =
        hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    format!("{first:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::TINY;

    #[test]
    fn a_text_has_the_beginning_of_its_sha256() {
        // printf abc | sha256sum
        assert_eq!(of_text("abc"), "ba7816bf8f01cfea");
    }

    #[test]
    fn a_model_is_the_same_wherever_it_lies_until_a_weight_changes() {
        let folder = tempfile::tempdir().unwrap();
        for file in TINY {
            std::fs::write(folder.path().join(file.name), file.bytes).unwrap();
        }
        let builtin = of_model(&ModelFiles::Builtin(TINY)).unwrap();
        let copied = ModelFiles::Folder(folder.path().to_owned());
        assert_eq!(of_model(&copied).unwrap(), builtin);
        let weights = folder.path().join("model.safetensors");
        let mut bytes = std::fs::read(&weights).unwrap();
        // Every weight moves a little in training.
        let n = bytes.len();
        bytes[n / 2..].iter_mut().step_by(4).for_each(|byte| *byte ^= 1);
        std::fs::write(&weights, bytes).unwrap();
        assert_ne!(of_model(&copied).unwrap(), builtin);
    }
}
