//! What a run's start spends on the contents of its base model: the first time, and once it is kept.
//! Not here: the arithmetic (`ops`).
//!
//! `cargo bench --bench fingerprints -- MODEL`, where MODEL is a folder; what is kept goes into a folder of this program's own
//! and is removed. The first time is with the files in the system's cache, as they have been read once before.

#![expect(clippy::print_stdout, reason = "prints its result")]

use std::path::PathBuf;
use std::time::Instant;

use othink::identity::fingerprint::of_model;
use othink::identity::kept::Kept;
use othink::model::files::ModelFiles;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(model) = std::env::args().skip(1).find(|word| !word.starts_with("--")) else {
        println!("name a model's folder");
        return Ok(());
    };
    let files = ModelFiles::Folder(PathBuf::from(&model));
    let folder = tempfile::tempdir()?;
    let timed = |kept: &Kept| -> Result<_, Box<dyn std::error::Error>> {
        let began = Instant::now();
        let found = of_model(kept, &files)?;
        Ok((began.elapsed().as_secs_f64(), found))
    };
    // A folder that cannot be: nothing is kept there.
    timed(&Kept::at(&folder.path().join("none\0")))?;
    let kept = Kept::at(folder.path());
    let ((first, found), (again, same)) = (timed(&kept)?, timed(&kept)?);
    assert!(found == same, "kept and computed fingerprints differ");
    println!("{model}: {} files, the first time {first:.2} s, kept {again:.3} s", found.len());
    Ok(())
}
