//! A run that is killed at each of its file operations, and one in which each fails.
//! Not here: signals and kills at a moment of the clock (`signals`); the same of evaluations (`evaluation`).

use std::path::Path;

use crate::area::{Area, chosen, spread, takes_all};
use crate::outcome::Outcome;
use crate::preload::{self, Fault, Operation, distinct};
use crate::training::{Kind, last_kept, last_saved};

/// In `cargo test`; otherwise for each kind of runs as many as [`N_OF_KIND`] says.
const N_CASES: usize = 4;
const N_OF_KIND: [usize; 4] = [160, 50, 50, 50];

fn n_kinds() -> usize {
    if takes_all() { 4 } else { 1 }
}

/// Faults at the operations of a run of each kind that are worth one.
fn cases<'a>(kinds: &'a [Kind], faults: &[Fault]) -> Vec<(&'a Kind, usize, Fault)> {
    let mut cases = Vec::new();
    for (kind, n_of_kind) in kinds.iter().zip(N_OF_KIND) {
        let mut of_kind = Vec::new();
        for n in distinct(&kind.operations) {
            for &fault in faults {
                // Writing half is for what writes.
                if fault != Fault::Short || kind.operations[n - 1].what == "write" {
                    of_kind.push((kind, n, fault));
                }
            }
        }
        cases.extend(spread(of_kind, n_of_kind));
    }
    chosen(cases, N_CASES)
}

fn described(kind: &Kind, n: usize, fault: Fault) -> String {
    let Operation { what, path, .. } = &kind.operations[n - 1];
    let path = path.strip_prefix(&kind.whole).unwrap_or(path).display();
    format!("{}, {fault:?} at operation {n}, {what} {path}", kind.name)
}

/// What was done is not lost: the last checkpoint that had its name is there.
fn keeps_checkpoints(folder: &Path, done: &[Operation]) -> Result<(), String> {
    let (saved, kept) = (last_saved(done), last_kept(&folder.join("run")));
    if kept < saved {
        return Err(format!("step-{saved:06} was there, and step-{kept:06} is the last now"));
    }
    Ok(())
}

#[test]
fn a_run_killed_at_any_operation_goes_on_to_the_bit() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("training, killed at a file operation");
    let kinds = Kind::first(n_kinds(), area.folder());
    for (kind, n, fault) in cases(&kinds, &[Fault::KillBefore, Fault::KillAfter]) {
        area.case(&described(kind, n, fault), |folder| {
            let (outcome, done) = kind.faulted(folder, n, fault);
            if !outcome.is_killed() {
                return Err(format!("it was not killed: {outcome:?}"));
            }
            keeps_checkpoints(folder, &done[..done.len().saturating_sub(1)])?;
            kind.goes_on(folder).map(drop)
        });
    }
    area.end();
}

/// The error names a file or folder of the run, and what the system said.
fn says_what_failed(outcome: &Outcome, folder: &Path, fault: Fault) -> Result<bool, String> {
    let run = folder.join("run").display().to_string();
    outcome.succeeded_or_said(1, &[&run, fault.cause(), "hint: "])
}

#[test]
fn a_run_whose_disk_fails_says_so_and_goes_on_to_the_bit() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("training, a file operation fails");
    let kinds = Kind::first(n_kinds(), area.folder());
    for (kind, n, fault) in cases(&kinds, &Fault::ERRORS) {
        area.case(&described(kind, n, fault), |folder| {
            let (outcome, done) = kind.faulted(folder, n, fault);
            if done.len() < n {
                return Err(format!("it did not come to that operation: {outcome:?}"));
            }
            // What went wrong after the last update may not have been in its way.
            if says_what_failed(&outcome, folder, fault)? {
                return kind.is_whole(&folder.join("run"));
            }
            keeps_checkpoints(folder, &done[..n - 1])?;
            kind.goes_on(folder).map(drop)
        });
    }
    area.end();
}
