//! Runs under faults: the kinds of runs, an undisturbed one of each, and what has to hold after a fault.
//! Not here: which faults (`writes` and the other areas), comparing two runs (`runs`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::outcome::{Outcome, run};
use crate::preload::{self, Fault, Operation};
use crate::runs::{config, difference, train};

/// What every run of these tests does: six updates, a checkpoint after every second, the oldest removed in time, and
/// evaluations before, in between and at the end.
const EVERY: [&str; 5] = [
    "train.keep=2",
    "train.eval_every=2",
    "eval.limit=2",
    "eval.max_new_tokens=2",
    "eval.before_training=true",
];

/// The kinds of runs: name, method, and what is set besides.
const KINDS: [(&str, &str, &[&str]); 4] = [
    // Two updates learn from each batch of rollouts.
    ("grpo-d", "grpo-d", &[]),
    ("sft in bf16", "sft", &["model.dtype=bf16", "optim.lr=1e-4"]),
    ("sft", "sft", &[]),
    ("grpo", "grpo", &["grpo.updates_per_rollout=1", "grpo.mini_batches=1"]),
];

/// A kind of runs with an undisturbed run of it.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    config: PathBuf,
    more: Vec<String>,
    /// The folder of the undisturbed run.
    pub(crate) whole: PathBuf,
    /// Its file operations.
    pub(crate) operations: Vec<Operation>,
}

impl Kind {
    /// The first kinds, each with its undisturbed run below a folder.
    pub(crate) fn first(n: usize, folder: &Path) -> Vec<Self> {
        let kinds = KINDS.iter().take(n).map(|&(name, method, own)| {
            let home = folder.join(name.replace(' ', "-"));
            std::fs::create_dir(&home).unwrap();
            let set = EVERY.iter().chain(own).flat_map(|change| ["--set", change]);
            let more = set.map(str::to_owned).collect();
            let config = config(&home, method);
            let whole = home.join("whole");
            let mut kind = Self { name, config, more, whole, operations: Vec::new() };
            let mut command = kind.command(&kind.whole, &[]);
            let log = home.join("operations");
            if preload::library().is_some() {
                preload::load(&mut command, &kind.whole, &log, None);
            }
            run(command, &home).succeeded().unwrap();
            kind.operations = preload::operations(&log);
            kind
        });
        kinds.collect()
    }

    /// The command of a run of this kind.
    pub(crate) fn command(&self, out: &Path, flags: &[&str]) -> Command {
        let more: Vec<&str> = self.more.iter().map(String::as_str).collect();
        train(&self.config, out, &[&more[..], flags].concat())
    }

    /// Runs with a fault at the `n`-th operation, from 1; returns how it ended and what it did.
    pub(crate) fn faulted(
        &self,
        folder: &Path,
        n: usize,
        fault: Fault,
    ) -> (Outcome, Vec<Operation>) {
        let (out, log) = (folder.join("run"), folder.join("operations"));
        let mut command = self.command(&out, &[]);
        preload::load(&mut command, &out, &log, Some((n, fault)));
        let outcome = run(command, folder);
        (outcome, preload::operations(&log))
    }

    /// A run that was killed before its last checkpoint appeared, so that the one after four updates is the newest.
    pub(crate) fn interrupted(&self, folder: &Path) -> PathBuf {
        let appears = |operation: &Operation| operation.to.ends_with("step-000006");
        let n = self.operations.iter().position(appears).unwrap() + 1;
        let (outcome, _) = self.faulted(folder, n, Fault::KillBefore);
        assert!(outcome.is_killed(), "{outcome:?}");
        assert_eq!(last_kept(&folder.join("run")), 4);
        folder.join("run")
    }

    /// Goes on with what a fault has left, to the end, and compares; what was whole must not be called damaged.
    ///
    /// - returns what the command said that went on
    pub(crate) fn goes_on(&self, folder: &Path) -> Result<String, String> {
        let out = folder.join("run");
        let mut outcome = run(self.command(&out, &["--resume"]), folder);
        if outcome.status.code() == Some(2) && is_no_run(&outcome.told) {
            outcome = run(self.command(&out, &[]), folder);
        }
        outcome.succeeded().map_err(|failure| format!("going on: {failure}"))?;
        if outcome.told.contains("damaged") {
            return Err(format!("going on: a checkpoint was left damaged: {}", outcome.told));
        }
        self.is_whole(&out)?;
        Ok(outcome.told)
    }

    /// Compares a finished run with the undisturbed one.
    pub(crate) fn is_whole(&self, out: &Path) -> Result<(), String> {
        if !out.join("finished").is_file() || !out.join("checkpoints").is_dir() {
            return Err("the run is not finished".to_owned());
        }
        difference(&[], &self.whole, out).map_or(Ok(()), Err)
    }
}

/// Whether resuming was refused because there is no run yet.
fn is_no_run(told: &str) -> bool {
    told.contains("found no run in") || told.contains("expected a run to resume")
}

/// The last update of a checkpoint that has its name, among operations that were done.
pub(crate) fn last_saved(done: &[Operation]) -> u64 {
    let appeared = done.iter().filter(|operation| operation.what == "rename");
    appeared.filter_map(|operation| update_of(&operation.to)).max().unwrap_or(0)
}

/// The last update of the checkpoints in a run's folder.
pub(crate) fn last_kept(out: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(out.join("checkpoints")) else { return 0 };
    entries.filter_map(|entry| update_of(&entry.unwrap().path())).max().unwrap_or(0)
}

fn update_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}
