//! Whether a new run may be started in a folder.
//! Not here: making the run's first files (`folder`).
//!
//! A run that was killed at its first writes, or whose disk was full then, leaves files that hold nothing yet: a new run is
//! started over them. So is one over `lost+found`, which a file system has at its root.

use std::path::Path;

use super::durable::failed;
use super::error::RunFolderError;
use super::failed::FAILED;
use super::folder::{CHECKPOINTS, COMPLETIONS, CONFIG, EVALUATIONS, LOCK, METRICS};
use super::origin::ORIGIN;
use super::starts::STARTS;
use super::tensorboard::EVENTS;
use crate::out_file::with_ending;

/// What a folder holds that a run may not be started over.
#[derive(Debug, PartialEq, Eq)]
enum Occupant {
    /// Records or checkpoints of a run, the first of them by name.
    Run(String),
    /// What is no part of a run.
    Other(String),
}

/// Whether a new run may be started in a folder; it need not exist.
///
/// # Errors
/// It holds a run or something else, is a file, or cannot be read.
pub fn require_free(folder: &Path) -> Result<(), RunFolderError> {
    if !folder.exists() {
        return Ok(());
    }
    let path = folder.to_owned();
    if !folder.is_dir() {
        return Err(RunFolderError::NotAFolder { path });
    }
    match occupant(folder).map_err(failed("read", folder))? {
        None => Ok(()),
        Some(Occupant::Run(found)) => Err(RunFolderError::HoldsRun { path, found }),
        Some(Occupant::Other(found)) => Err(RunFolderError::HoldsOther { path, found }),
    }
}

/// What is in the way; a run before anything else.
fn occupant(folder: &Path) -> std::io::Result<Option<Occupant>> {
    let mut others = Vec::new();
    let mut names = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let is_run = match name.as_str() {
            METRICS | COMPLETIONS | EVALUATIONS => path.metadata()?.len() > 0,
            CHECKPOINTS => path.read_dir()?.next().is_some(),
            first if is_first_write(first) => false,
            _ => {
                others.push(name);
                continue;
            }
        };
        if is_run {
            return Ok(Some(Occupant::Run(name)));
        }
    }
    Ok(others.into_iter().next().map(Occupant::Other))
}

/// Whether a run writes a file of that name before it has any result.
fn is_first_write(name: &str) -> bool {
    let replaced = [CONFIG, ORIGIN, STARTS].map(|name| with_ending(Path::new(name), ".tmp"));
    [CONFIG, ORIGIN, STARTS, LOCK, FAILED, "lost+found"].contains(&name)
        || name.starts_with(EVENTS)
        || replaced.iter().any(|temporary| temporary == Path::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_writes_before_its_first_result_is_not_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(occupant(path).unwrap(), None);
        for name in [
            ".lock",
            "config.toml",
            "config.toml.tmp",
            "origin.json",
            "origin.json.tmp",
            "starts.jsonl",
            "starts.jsonl.tmp",
        ] {
            std::fs::write(path.join(name), "x").unwrap();
        }
        for name in ["metrics.jsonl", "completions.jsonl", "evaluations.jsonl"] {
            std::fs::write(path.join(name), "").unwrap();
        }
        std::fs::write(path.join("events.out.tfevents.0000000001.othink"), "header").unwrap();
        for name in ["checkpoints", "failed", "lost+found"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        assert_eq!(occupant(path).unwrap(), None);
        require_free(path).unwrap();
    }

    #[test]
    fn every_result_is_in_the_way_and_comes_before_what_is_no_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("a letter"), "").unwrap();
        assert_eq!(occupant(path).unwrap(), Some(Occupant::Other("a letter".to_owned())));
        for name in ["metrics.jsonl", "completions.jsonl", "evaluations.jsonl"] {
            std::fs::write(path.join(name), "{}\n").unwrap();
            assert_eq!(occupant(path).unwrap(), Some(Occupant::Run(name.to_owned())));
            std::fs::remove_file(path.join(name)).unwrap();
        }
        std::fs::create_dir_all(path.join("checkpoints/step-000001.tmp")).unwrap();
        assert_eq!(occupant(path).unwrap(), Some(Occupant::Run("checkpoints".to_owned())));
    }
}
