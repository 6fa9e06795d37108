//! Two processes that are given one folder: one gets it, the other says so, and the run is as if alone.
//! Not here: the lock itself (`run_folder::folder`).

use std::path::Path;
use std::time::Duration;

use crate::area::{Area, takes_all};
use crate::outcome::{Outcome, start};
use crate::preload;
use crate::training::Kind;

/// In `cargo test`; more otherwise.
const N_CASES: u64 = 1;

/// Runs a command twice, the second a moment after the first.
fn both(kind: &Kind, folder: &Path, flags: &[&str], moment: Duration) -> [Outcome; 2] {
    let out = folder.join("run");
    let second = folder.join("second");
    std::fs::create_dir_all(&second).unwrap();
    let first = start(kind.command(&out, flags), folder);
    std::thread::sleep(moment);
    let second = start(kind.command(&out, flags), &second);
    [first.end(), second.end()]
}

/// One of the two succeeded, and the other was refused.
fn one_wins(outcomes: &[Outcome; 2], folder: &Path) -> Result<(), String> {
    let out = folder.join("run").display().to_string();
    let mut wins = 0;
    for outcome in outcomes {
        wins += usize::from(outcome.succeeded_or_said(2, &[&out, "hint: "])?);
    }
    if wins == 1 { Ok(()) } else { Err(format!("{wins} of two succeeded: {outcomes:?}")) }
}

#[test]
fn of_two_runs_in_one_folder_one_is_refused_and_the_other_unharmed() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("training, two processes on one folder");
    let n_cases = if takes_all() { 15 } else { N_CASES };
    for kind in Kind::first(if takes_all() { 2 } else { 1 }, area.folder()) {
        for n in 0..n_cases {
            let moment = Duration::from_millis(3 * n);
            area.case(&format!("{}, begun {moment:?} apart", kind.name), |folder| {
                one_wins(&both(&kind, folder, &[], moment), folder)?;
                kind.is_whole(&folder.join("run"))
            });
            area.case(&format!("{}, resumed {moment:?} apart", kind.name), |folder| {
                let out = kind.interrupted(folder);
                let outcomes = both(&kind, folder, &["--resume"], moment);
                // The second may come when the first has ended, and then has nothing to do.
                for outcome in &outcomes {
                    outcome.succeeded_or_said(2, &["in use by another run", "hint: "])?;
                }
                kind.is_whole(&out)
            });
        }
    }
    area.end();
}
