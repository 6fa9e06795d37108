//! A disk that fails where the program reads: a run that goes on, and an evaluation of a model on pictures.
//! Not here: what fails where it writes (`writes`, `evaluation`); files that are read well and hold something else (`damage`).

use std::path::Path;
use std::process::Command;

use crate::area::{Area, chosen};
use crate::damage::copy;
use crate::outcome::{Outcome, run};
use crate::preload::{self, Fault, Operation, Operations, distinct};
use crate::training::Kind;

/// In `cargo test`, of each area; all of them otherwise.
const N_CASES: usize = 5;

/// Runs a command whose `n`-th read below a folder fails.
fn faulted(mut command: Command, folder: &Path, below: &Path, n: Option<usize>) -> Outcome {
    let at = n.map(|n| (n, Fault::Io));
    preload::load_for(Operations::Reads, &mut command, below, &log(folder), at);
    run(command, folder)
}

fn log(folder: &Path) -> std::path::PathBuf {
    folder.join("operations")
}

/// A success, or an error that names a file or folder below the one whose reading failed, and what the system said.
fn says_what_failed(outcome: &Outcome, below: &Path) -> Result<bool, String> {
    let below = below.display().to_string();
    let code = outcome.status.code().filter(|code| [1, 2].contains(code)).unwrap_or(1);
    // The standard library says so of a folder that is there already and cannot be looked at.
    let mkdir = outcome.succeeded_or_said(code, &[&below, "File exists"]);
    mkdir.or_else(|_| outcome.succeeded_or_said(code, &[&below, Fault::Io.cause()]))
}

/// Which of the reads that were logged are tried: from 1, with what each does.
fn cases(folder: &Path) -> Vec<(usize, Operation)> {
    let operations = preload::operations(&log(folder));
    let cases = distinct(&operations).into_iter().map(|n| (n, operations[n - 1].clone()));
    chosen(cases.collect(), N_CASES)
}

#[test]
fn a_run_that_cannot_read_what_it_goes_on_from_says_so_and_loses_nothing() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("training, a read fails when a run goes on");
    let kind = Kind::first(1, area.folder()).remove(0);
    let home = area.folder().join("interrupted");
    std::fs::create_dir(&home).unwrap();
    let interrupted = kind.interrupted(&home);
    let resumed = |folder: &Path, n| {
        let out = folder.join("run");
        copy(&interrupted, &out);
        faulted(kind.command(&out, &["--resume"]), folder, &out, n)
    };
    let undisturbed = area.folder().join("undisturbed");
    std::fs::create_dir(&undisturbed).unwrap();
    resumed(&undisturbed, None).succeeded().unwrap();
    for (n, operation) in cases(&undisturbed) {
        area.case(&format!("{} of {:?}", operation.what, operation.path), |folder| {
            let out = folder.join("run");
            if says_what_failed(&resumed(folder, Some(n)), &out)? {
                return kind.is_whole(&out);
            }
            kind.goes_on(folder).map(drop)
        });
    }
    area.end();
}

/// An evaluation of a model and pictures in a folder; fingerprints are kept there as well.
fn evaluation(home: &Path, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(["eval", "--max-new-tokens", "2", "--model"]).arg(home.join("model"));
    command.arg("--data").arg(home.join("rows.jsonl")).arg("--out").arg(answers(folder));
    command.env("HF_HOME", home.join("hub"));
    command
}

fn answers(folder: &Path) -> std::path::PathBuf {
    folder.join("answers.jsonl")
}

/// What an evaluation reads: the micro checkpoint, two rows and their pictures.
fn asked(home: &Path) {
    std::fs::create_dir(home).unwrap();
    copy(&std::path::absolute("tests/golden/micro/policy").unwrap(), &home.join("model"));
    let row =
        |n| format!(r#"{{"image_path": "{n}.png", "problem": "How many?", "solution": "{n}"}}"#);
    for n in 1..=2 {
        copy(Path::new("tests/golden/processor/rgb_key.png"), &home.join(format!("{n}.png")));
    }
    std::fs::write(home.join("rows.jsonl"), [row(1), row(2)].join("\n")).unwrap();
}

#[test]
fn an_evaluation_that_cannot_read_says_so_or_gives_the_same_answers() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("evaluation, a read fails");
    let home = area.folder().join("home");
    asked(&home);
    // The first one keeps fingerprints, which the next read.
    run(evaluation(&home, area.folder()), area.folder()).succeeded().unwrap();
    let whole = std::fs::read(answers(area.folder())).unwrap();
    let undisturbed = area.folder().join("undisturbed");
    std::fs::create_dir(&undisturbed).unwrap();
    faulted(evaluation(&home, &undisturbed), &undisturbed, &home, None).succeeded().unwrap();
    for (n, operation) in cases(&undisturbed) {
        area.case(&format!("{} of {:?}", operation.what, operation.path), |folder| {
            let outcome = faulted(evaluation(&home, folder), folder, &home, Some(n));
            if !says_what_failed(&outcome, &home)? {
                run(evaluation(&home, folder), folder).succeeded()?;
            }
            let same = std::fs::read(answers(folder)).is_ok_and(|found| found == whole);
            if same { Ok(()) } else { Err(format!("other answers: {}", outcome.told)) }
        });
    }
    area.end();
}
