//! Evaluations under faults: the file of answers that a later command continues, and the fingerprints that are kept for speed.
//! Not here: the same of runs (`writes`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::area::{Area, chosen};
use crate::outcome::{Outcome, run};
use crate::preload::{self, Fault, Operation};

/// In `cargo test`, of each area; all of them otherwise.
const N_CASES: usize = 4;

const ANSWERS: &str = "out/answers.jsonl";

/// An evaluation of few short answers by the micro checkpoint.
///
/// - `folder`: its answers go to [`ANSWERS`] in it
fn evaluation(folder: &Path, samples: &str) -> Command {
    let model = std::path::absolute("tests/golden/micro/policy").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(["eval", "--task", "synth-vc", "--limit", "4", "--max-new-tokens", "4"]);
    command.args(["--samples", samples, "--model"]).arg(model);
    // A fault after the last answer is written may leave them all.
    command.arg("--overwrite").arg("--out").arg(folder.join(ANSWERS));
    command
}

/// An undisturbed evaluation: its answers, and its operations below a folder of its own.
fn undisturbed(folder: &Path, below: &str, samples: &str) -> (Vec<u8>, Vec<Operation>) {
    std::fs::create_dir_all(folder.join("out")).unwrap();
    let mut command = evaluation(folder, samples);
    command.env("HF_HOME", folder.join("hub"));
    let log = folder.join("log");
    preload::load(&mut command, &folder.join(below), &log, None);
    run(command, folder).succeeded().unwrap();
    (answers(folder).unwrap(), preload::operations(&log))
}

fn answers(folder: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(folder.join(ANSWERS)).map_err(|error| format!("no answers: {error}"))
}

/// Runs the evaluation with a fault.
fn faulted(folder: &Path, below: &str, samples: &str, (n, fault): (usize, Fault)) -> Outcome {
    std::fs::create_dir_all(folder.join("out")).unwrap();
    let mut command = evaluation(folder, samples);
    command.env("HF_HOME", folder.join("hub"));
    preload::load(&mut command, &folder.join(below), &folder.join("log"), Some((n, fault)));
    run(command, folder)
}

/// The evaluation, continued without a fault, gives the undisturbed one's answers and leaves nothing beside them.
fn is_continued(folder: &Path, samples: &str, whole: &[u8]) -> Result<(), String> {
    run(evaluation(folder, samples), folder).succeeded()?;
    if answers(folder)? != whole {
        return Err("other answers".to_owned());
    }
    let beside = std::fs::read_dir(folder.join("out")).unwrap().map(|entry| entry.unwrap().path());
    let beside: Vec<PathBuf> = beside.filter(|path| !path.ends_with("answers.jsonl")).collect();
    if beside.is_empty() { Ok(()) } else { Err(format!("left beside the answers: {beside:?}")) }
}

/// Faults one after the other at the operations of an evaluation and of the one that continues it.
fn cases(operations: &[Operation], faults: &[Fault]) -> Vec<[(usize, Fault); 2]> {
    let mut cases = Vec::new();
    for first in 1..=operations.len() {
        for second in 1..=operations.len() {
            // Every kind of fault at every operation, not each with each.
            let fault = faults[(first + second) % faults.len()];
            let again = faults[(first + 2 * second) % faults.len()];
            cases.push([(first, fault), (second, again)]);
        }
    }
    chosen(cases, N_CASES)
}

#[test]
fn an_evaluation_killed_at_any_operation_is_continued_to_the_same_answers() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("evaluation, killed at a file operation and again");
    let (whole, operations) = undisturbed(area.folder(), "out", "1");
    for faults in cases(&operations, &[Fault::KillBefore, Fault::KillAfter]) {
        area.case(&format!("{faults:?}"), |folder| {
            for fault in faults {
                let outcome = faulted(folder, "out", "1", fault);
                // What is continued has fewer operations: it may end before.
                if !outcome.is_killed() {
                    outcome.succeeded()?;
                }
            }
            is_continued(folder, "1", &whole)
        });
    }
    area.end();
}

#[test]
fn an_evaluation_whose_disk_fails_says_so_and_is_continued_to_the_same_answers() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("evaluation, a file operation fails and again");
    let (whole, operations) = undisturbed(area.folder(), "out", "2");
    for faults in cases(&operations, &Fault::ERRORS) {
        area.case(&format!("{faults:?}"), |folder| {
            for (n, fault) in faults {
                let outcome = faulted(folder, "out", "2", (n, fault));
                let file = folder.join(ANSWERS).display().to_string();
                outcome.succeeded_or_said(1, &[&file, fault.cause(), "hint: "])?;
            }
            is_continued(folder, "2", &whole)
        });
    }
    area.end();
}

#[test]
fn fingerprints_that_cannot_be_kept_are_a_warning_and_change_no_answer() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("fingerprints, a file operation fails");
    let (whole, operations) = undisturbed(area.folder(), "hub", "1");
    assert!(!operations.is_empty(), "no fingerprints were kept");
    let mut cases = Vec::new();
    for (idx, Operation { what, .. }) in operations.iter().enumerate() {
        // A disk that is full from the last writing on is in nobody's way.
        let in_the_way = ["write", "mkdir"].contains(&what.as_str());
        let errors = Fault::ERRORS.into_iter();
        let errors = errors.filter(|of| in_the_way || ![Fault::Full, Fault::Short].contains(of));
        cases.extend(errors.chain([Fault::KillBefore]).map(|fault| (idx + 1, fault)));
    }
    for (n, fault) in chosen(cases, N_CASES) {
        area.case(&format!("{fault:?} at {:?}", operations[n - 1]), |folder| {
            let outcome = faulted(folder, "hub", "1", (n, fault));
            if !outcome.is_killed() {
                outcome.succeeded()?;
                if !outcome.told.contains("cannot keep fingerprints in") {
                    return Err(format!("no warning: {}", outcome.told));
                }
            }
            // With what was kept, whole or not.
            is_continued(folder, "1", &whole)
        });
    }
    area.end();
}
