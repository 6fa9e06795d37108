//! A short run on the micro checkpoint as a user starts it, what it leaves, and whether two runs left the same.
//! Not here: what is tested with it (`it`, `faults`, which share this module).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Fields of `metrics.jsonl` that depend on the machine.
const TIMED: [&str; 7] = [
    "tokens_per_s",
    "s_rollout",
    "s_reference",
    "s_policy",
    "s_optimizer",
    "s_total",
    "peak_bytes",
];

/// A short run on the micro checkpoint. Random weights answer no question; they can learn to stop, since a truncated
/// completion costs 1.
pub(crate) fn config(folder: &Path, method: &str) -> PathBuf {
    // Relative to the working folder, which is the package's root for a test.
    let model = std::path::absolute("tests/golden/micro/policy").unwrap().display().to_string();
    let text = format!(
        "method = \"{method}\"\n\
         [model]\npath = \"{model}\"\n\
         [data]\ntask = \"synth-vc\"\n\
         [grpo]\ngroup_size = 3\nprompts_per_update = 2\nupdates_per_rollout = 2\nmini_batches = 2\n\
         [reward.weights]\nlength_penalty = 1.0\n\
         [rollout]\nmax_new_tokens = 8\n\
         [optim]\nlr = 1e-2\n\
         [train]\nupdates = 6\ncheckpoint_every = 2\nkeep = 9\n"
    );
    let path = folder.join(format!("{method}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) fn train(config: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(["train", "--config"]).arg(config).arg("--out").arg(out).args(more);
    command
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first thing in which two finished runs differ, times aside; `None` where they are the same to the bit.
///
/// - `fields`: further fields of `metrics.jsonl` that are not compared
pub(crate) fn difference(fields: &[&str], a: &Path, b: &Path) -> Option<String> {
    let last = last_checkpoint(a);
    let adapter = "adapter_model.safetensors";
    let is_adapter = a.join(&last).join(adapter).is_file();
    let weights = if is_adapter { adapter } else { "model.safetensors" };
    let of_last = [weights, "trainer/optimizer.safetensors", "trainer/progress.json"];
    let of_last = of_last.map(|name| format!("{last}/{name}"));
    let in_all = of_last.into_iter().chain(["completions.jsonl".to_owned()]);
    let masters = format!("{last}/trainer/master_weights.safetensors");
    let in_some = [masters, "evaluations.jsonl".to_owned()];
    let bytes = |run: &Path, name: &str| std::fs::read(run.join(name)).ok();
    for (name, is_in_all) in
        in_all.map(|name| (name, true)).chain(in_some.map(|name| (name, false)))
    {
        let ours = bytes(a, &name);
        if ours != bytes(b, &name) || (is_in_all && ours.is_none()) {
            return Some(format!("{name} differs, or is nowhere"));
        }
    }
    let metrics = |run: &Path| untimed(fields, &run.join("metrics.jsonl"));
    let (a, b) = (metrics(a), metrics(b));
    let line = a.iter().zip(&b).find(|(a, b)| a != b);
    let differing = line.map(|(a, b)| format!("metrics.jsonl differs: {a} and {b}"));
    differing.or((a.len() != b.len()).then(|| format!("{} updates and {}", a.len(), b.len())))
}

fn untimed(fields: &[&str], metrics: &Path) -> Vec<Value> {
    let mut lines = lines(metrics);
    for line in &mut lines {
        for field in TIMED.iter().chain(fields) {
            line.as_object_mut().unwrap().remove(*field);
        }
    }
    lines
}

/// The newest checkpoint of a run's folder.
pub(crate) fn last_checkpoint(run: &Path) -> String {
    let names = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    format!("checkpoints/{}", names.max().unwrap())
}
