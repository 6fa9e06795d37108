//! Folders and files of a run that are moved, removed or replaced while it is going on.
//! Not here: files that change while it is not (`damage`).

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::area::{Area, chosen, spread, takes_all};
use crate::outcome::{Outcome, run, start};
use crate::preload::{self, Fault, distinct};
use crate::training::Kind;

/// In `cargo test`; all of them otherwise.
const N_CASES: usize = 5;
/// Operations before which the run is stopped.
const N_STOPS: usize = 12;

/// What is done to the run's folder while the run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Moved,
    Removed,
    /// Moved, and its old path leads to the new place.
    Linked,
    /// Moved, and a file is where it was.
    FileInstead,
    /// Moved, and an empty folder is where it was.
    FolderInstead,
    CheckpointsMoved,
    CheckpointsRemoved,
    CheckpointsFile,
    MetricsRemoved,
}

impl Change {
    const ALL: [Self; 9] = [
        Self::Moved,
        Self::Removed,
        Self::Linked,
        Self::FileInstead,
        Self::FolderInstead,
        Self::CheckpointsMoved,
        Self::CheckpointsRemoved,
        Self::CheckpointsFile,
        Self::MetricsRemoved,
    ];

    fn make(self, out: &Path, aside: &Path) {
        let checkpoints = out.join("checkpoints");
        match self {
            Self::Moved => std::fs::rename(out, aside).unwrap(),
            Self::Removed => std::fs::remove_dir_all(out).unwrap(),
            Self::Linked => {
                std::fs::rename(out, aside).unwrap();
                symlink(aside, out).unwrap();
            }
            Self::FileInstead => {
                std::fs::rename(out, aside).unwrap();
                std::fs::write(out, "").unwrap();
            }
            Self::FolderInstead => {
                std::fs::rename(out, aside).unwrap();
                std::fs::create_dir(out).unwrap();
            }
            // There may be none yet.
            Self::CheckpointsMoved => drop(std::fs::rename(checkpoints, aside)),
            Self::CheckpointsRemoved => remove(&checkpoints),
            Self::CheckpointsFile => {
                remove(&checkpoints);
                std::fs::write(checkpoints, "").unwrap();
            }
            Self::MetricsRemoved => std::fs::remove_file(out.join("metrics.jsonl")).unwrap(),
        }
    }

    /// Whether the run's folder is no longer where it was.
    fn takes_the_folder(self) -> bool {
        matches!(self, Self::Moved | Self::Removed | Self::FileInstead | Self::FolderInstead)
    }

    /// Where the folder was, nothing may have been written since.
    fn is_left_alone(self, out: &Path) -> Result<(), String> {
        let is_as_left = match self {
            Self::Moved | Self::Removed => !out.exists(),
            Self::FileInstead => std::fs::read(out).is_ok_and(|bytes| bytes.is_empty()),
            Self::FolderInstead => {
                std::fs::read_dir(out).is_ok_and(|mut found| found.next().is_none())
            }
            _ => true,
        };
        is_as_left
            .then_some(())
            .ok_or_else(|| format!("it wrote to {}, which is not its folder", out.display()))
    }

    /// Makes good what can be, as a user would.
    fn undo(self, out: &Path, aside: &Path) {
        match self {
            Self::Moved | Self::FileInstead | Self::FolderInstead => {
                remove(out);
                std::fs::rename(aside, out).unwrap();
            }
            Self::Removed => remove(out),
            Self::CheckpointsMoved if aside.exists() => {
                // Later ones may have been saved meanwhile.
                remove(&out.join("checkpoints"));
                std::fs::rename(aside, out.join("checkpoints")).unwrap();
            }
            Self::CheckpointsFile => remove(&out.join("checkpoints")),
            Self::Linked
            | Self::CheckpointsMoved
            | Self::CheckpointsRemoved
            | Self::MetricsRemoved => {}
        }
    }
}

/// Removes what may not be there.
fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
}

/// Waits until a process is stopped.
fn wait_until_stopped(id: u32) -> Result<(), String> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The state comes after the name in parentheses.
        match stat.rsplit(") ").next().and_then(|rest| rest.chars().next()) {
            Some('T') => return Ok(()),
            None | Some('Z') => return Err("it ended before it was stopped".to_owned()),
            Some(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Err("it did not come to the operation".to_owned())
}

/// A run that is stopped before its `n`-th operation while its folder is changed.
fn changed(kind: &Kind, folder: &Path, n: usize, change: Change) -> Result<Outcome, String> {
    let (out, aside) = (folder.join("run"), folder.join("aside"));
    let mut command = kind.command(&out, &[]);
    preload::load(&mut command, &out, &folder.join("operations"), Some((n, Fault::Stop)));
    let run = start(command, folder);
    let id = run.child.id();
    let stopped = wait_until_stopped(id);
    if stopped.is_ok() {
        change.make(&out, &aside);
    }
    Command::new("kill").args(["-CONT", &id.to_string()]).status().unwrap();
    let outcome = run.end();
    stopped.map(|()| outcome)
}

/// Operations between which a change can be made and is noticed: the run's files are there, and it has yet to save its last
/// checkpoint, or to look at its records for it.
fn stops(kind: &Kind, change: Change) -> Vec<usize> {
    let begun = kind.operations.iter().position(|of| of.path.ends_with("evaluations.jsonl"));
    let last = kind.operations.iter().rposition(|of| match change {
        Change::MetricsRemoved => of.what == "fsync" && of.path.ends_with("metrics.jsonl"),
        _ => of.what == "rename" && of.to.ends_with("step-000006"),
    });
    let between = distinct(&kind.operations).into_iter();
    let between = between.filter(|n| (begun.unwrap() + 1..=last.unwrap()).contains(n));
    spread(between.collect(), N_STOPS)
}

#[test]
fn a_run_whose_folder_is_changed_under_it_says_so_or_goes_on_to_the_bit() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("training, folders moved, removed or replaced in mid-run");
    let kinds = Kind::first(if takes_all() { 2 } else { 1 }, area.folder());
    let mut cases = Vec::new();
    for kind in &kinds {
        for change in Change::ALL {
            cases.extend(stops(kind, change).into_iter().map(|n| (kind, n, change)));
        }
    }
    for (kind, n, change) in chosen(cases, N_CASES) {
        let at = &kind.operations[n - 1];
        let name = format!("{}, {change:?} before {} {}", kind.name, at.what, at.path.display());
        area.case(&name, |folder| {
            let (out, aside) = (folder.join("run"), folder.join("aside"));
            let outcome = changed(kind, folder, n, change)?;
            let ended = outcome.succeeded_or_said(1, &[&out.display().to_string(), "hint: "])?;
            if change.takes_the_folder() && ended {
                return Err("it ended well without its folder".to_owned());
            }
            change.is_left_alone(&out)?;
            change.undo(&out, &aside);
            if change == Change::MetricsRemoved && !ended {
                // What is gone is gone: going on is refused, and names the file.
                let again = run(kind.command(&out, &["--resume"]), folder);
                return again.succeeded_or_said(1, &["metrics.jsonl"]).map(drop);
            }
            kind.goes_on(folder).map(drop)
        });
    }
    area.end();
}
