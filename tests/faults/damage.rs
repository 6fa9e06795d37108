//! Files of a run that were changed, cut short or deleted behind its back: never silently other numbers.
//! Not here: files that somebody wrote on purpose (`it::hostile_input`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::area::{Area, chosen, spread, takes_all};
use crate::outcome::{Outcome, run};
use crate::preload;
use crate::training::Kind;

/// In `cargo test`; all of them otherwise.
const N_CASES: usize = 8;
/// Bits that are flipped in each file.
const N_FLIPS: u64 = 5;
/// The newest checkpoint of the run that is damaged; the one before it is whole.
const NEWEST: &str = "checkpoints/step-000004";

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// A bit is flipped, after so many parts of the whole.
    Flip {
        part: u64,
    },
    /// The second half is gone.
    Halved,
    /// The last byte is gone.
    LastByte,
    Emptied,
    Deleted,
}

impl Damage {
    fn all() -> Vec<Self> {
        let flips = (0..N_FLIPS).map(|part| Self::Flip { part });
        flips.chain([Self::Halved, Self::LastByte, Self::Emptied, Self::Deleted]).collect()
    }

    fn inflict(self, path: &Path) {
        if self == Self::Deleted {
            std::fs::remove_file(path).unwrap();
            return;
        }
        let mut bytes = std::fs::read(path).unwrap();
        let n = bytes.len();
        match self {
            Self::Flip { part } if n > 0 => {
                // In the middle of its part, and another bit in each.
                let idx = ((2 * part + 1) * n as u64 / (2 * N_FLIPS)) as usize;
                bytes[idx] ^= 1 << (part % 7);
            }
            Self::Flip { .. } | Self::Deleted => {}
            Self::Halved => bytes.truncate(n / 2),
            Self::LastByte => bytes.truncate(n.saturating_sub(1)),
            Self::Emptied => bytes.clear(),
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// The paths of a run's files from its folder.
fn files_of(run: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(run, &mut files);
    files.sort();
    let names = files.iter().map(|path| path.strip_prefix(run).unwrap().to_owned());
    // The lock is empty, and what was being written counts for nothing.
    let counts =
        |path: &PathBuf| !path.display().to_string().contains(".tmp") && !path.ends_with(".lock");
    names.filter(counts).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// A copy of a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Each file with each damage.
fn cases(files: &[PathBuf]) -> Vec<(PathBuf, Damage)> {
    let all = files
        .iter()
        .flat_map(|file| Damage::all().into_iter().map(|damage| (file.clone(), damage)));
    chosen(all.collect(), N_CASES)
}

/// A refusal that names the file.
fn names_it(outcome: &Outcome, file: &Path) -> Result<(), String> {
    let Outcome { status, told } = outcome;
    let name = file.file_name().unwrap().to_str().unwrap();
    let is_error = matches!(status.code(), Some(1 | 2)) && told.contains("error: ");
    if is_error && told.contains(name) && !told.contains("panicked") {
        return Ok(());
    }
    Err(format!("ended with {status}, expected success or an error that names {name}: {told}"))
}

#[test]
fn a_run_with_a_damaged_file_goes_on_to_the_bit_or_names_the_file() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("training, a file of the run is damaged");
    for kind in Kind::first(if takes_all() { 2 } else { 1 }, area.folder()) {
        let place = area.folder().join(format!("{}-interrupted", kind.name));
        std::fs::create_dir(&place).unwrap();
        let interrupted = kind.interrupted(&place);
        let files = files_of(&interrupted);
        for (file, damage) in cases(&files) {
            area.case(&format!("{}, {damage:?} {}", kind.name, file.display()), |folder| {
                let out = folder.join("run");
                copy(&interrupted, &out);
                damage.inflict(&out.join(&file));
                let outcome = run(kind.command(&out, &["--resume"]), folder);
                if !outcome.status.success() {
                    return names_it(&outcome, &file);
                }
                // The list's last byte ends its line and says nothing.
                let matters = damage != Damage::LastByte || !file.ends_with("manifest.json");
                if file.starts_with(NEWEST)
                    && matters
                    && !outcome.told.contains("step-000004 is damaged")
                {
                    return Err(format!("it said nothing of the damage: {}", outcome.told));
                }
                kind.is_whole(&out)
            });
        }
    }
    area.end();
}

fn evaluated(checkpoint: &Path, folder: &Path) -> (Outcome, Option<Vec<u8>>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args([
        "eval",
        "--task",
        "synth-vc",
        "--limit",
        "2",
        "--max-new-tokens",
        "4",
        "--model",
    ]);
    command.arg(checkpoint).arg("--out").arg(folder.join("answers.jsonl"));
    (run(command, folder), std::fs::read(folder.join("answers.jsonl")).ok())
}

#[test]
fn an_evaluation_of_a_damaged_checkpoint_names_the_file() {
    let mut area = Area::new("evaluation, a file of the checkpoint is damaged");
    let kind = Kind::first(1, area.folder()).remove(0);
    let checkpoint = kind.whole.join("checkpoints/step-000006");
    let (outcome, whole) = evaluated(&checkpoint, area.folder());
    outcome.succeeded().unwrap();
    let files = files_of(&checkpoint);
    let cases = cases(&files);
    for (file, damage) in if takes_all() { cases } else { spread(cases, N_CASES / 2) } {
        area.case(&format!("{damage:?} {}", file.display()), |folder| {
            let copied = folder.join("step-000006");
            copy(&checkpoint, &copied);
            damage.inflict(&copied.join(&file));
            let (outcome, answers) = evaluated(&copied, folder);
            if !outcome.status.success() {
                return names_it(&outcome, &file);
            }
            // A checkpoint's list covers its model. What only a resumed run needs is not read here.
            if file.starts_with("trainer") && answers == whole {
                Ok(())
            } else {
                Err("measured, and nothing said of the damage".to_owned())
            }
        });
    }
    area.end();
}
