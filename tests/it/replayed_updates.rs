//! `othink replay`: updates computed again are those on record, and what differs is said.
//! Not here: completions that another run takes from a file (`replay`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::runs::{config, lines, train};
use crate::train::succeed;

fn replay(run: &Path, update: u64, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.arg("replay").arg(run).args(["--update", &update.to_string()]).args(more);
    command.output().unwrap()
}

/// The command's code and its JSON object.
fn replayed(run: &Path, update: u64, more: &[&str]) -> (Option<i32>, Value) {
    let output = replay(run, update, &[more, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout);
    (output.status.code(), value.unwrap_or_else(|error| panic!("{error}: {errors}")))
}

fn message(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A run of six updates, two of a batch, and its run file.
fn trained(folder: &Path, method: &str) -> (PathBuf, PathBuf) {
    let (config, run) = (config(folder, method), folder.join(method));
    succeed(train(&config, &run, &[]));
    (config, run)
}

fn edit(run: &Path, name: &str, change: impl Fn(&mut Vec<Value>)) {
    let path = run.join(name);
    let mut changed = lines(&path);
    change(&mut changed);
    let changed: Vec<String> = changed.iter().map(Value::to_string).collect();
    std::fs::write(path, changed.join("\n") + "\n").unwrap();
}

#[test]
fn every_update_comes_out_as_it_is_on_record_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (method, completions) in [("grpo-d", 6), ("sft", 0)] {
        let (_, run) = trained(folder.path(), method);
        let written = || std::fs::read_dir(&run).unwrap().count();
        let before = written();
        for (update, from) in [(1, 0), (2, 0), (5, 4), (6, 4)] {
            // In supervised training every update is a batch, and after each second one there is a checkpoint.
            let (code, found) = replayed(&run, update, &[]);
            assert_eq!((code, &found["outcome"]), (Some(0), &"made".into()), "{found}");
            assert_eq!((&found["from"], &found["differs_from"]), (&from.into(), &Value::Null));
            assert_eq!(found["completions"]["completions"], 2 * completions, "{found}");
            let figures = found["figures"].as_array().unwrap();
            let gradient = figures.iter().find(|figure| figure["name"] == "grad_norm").unwrap();
            assert_eq!(gradient["stage"], "optimizer step");
            assert!(gradient["replayed"].as_f64().unwrap() > 0.0, "{found}");
        }
        assert_eq!(written(), before);
        let (code, found) = replayed(&run, 3, &["--sample"]);
        assert_eq!((code, &found["sampled"]), (Some(0), &(method != "sft").into()), "{found}");
    }
}

#[test]
fn a_figure_on_record_that_is_another_is_named_with_its_stage() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run) = trained(folder.path(), "grpo-d");
    edit(&run, "metrics.jsonl", |lines| {
        let entropy = lines[3]["entropy"].as_f64().unwrap();
        lines[3]["entropy"] = (entropy * (1.0 + 1e-9)).into();
    });
    let (code, _) = replayed(&run, 3, &[]);
    assert_eq!(code, Some(0));
    let output = replay(&run, 4, &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{table}");
    let differing: Vec<&str> = table.lines().filter(|line| line.contains("e-")).collect();
    assert!(differing.iter().any(|line| line.starts_with("policy          entropy")), "{table}");
    assert!(table.ends_with("1 of 18 figures differ\n"), "{table}");
    assert_eq!(replayed(&run, 4, &["--tolerance", "1e-3"]).0, Some(0));
    // What comes after it from the base model, as no checkpoint is left.
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let (code, found) = replayed(&run, 5, &[]);
    assert_eq!((code, &found["from"], &found["differs_from"]), (Some(0), &0.into(), &4.into()));
    // Another token of a completion, and so other figures.
    edit(&run, "completions.jsonl", |lines| {
        let tokens = lines[0]["token_ids"].as_array_mut().unwrap();
        tokens[0] = (tokens[0].as_u64().unwrap() ^ 1).into();
    });
    assert_eq!(replayed(&run, 1, &[]).0, Some(1));
    let (code, found) = replayed(&run, 1, &["--sample"]);
    assert_eq!((code, &found["completions"]["other_tokens"]), (Some(1), &1.into()), "{found}");
}

#[test]
fn a_failed_update_leaves_what_it_is_computed_again_from() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run) = (config(folder.path(), "grpo-d"), folder.path().join("run"));
    // The second batch is sampled, and its scores are not what the trainer expects.
    let scores = folder.path().join("score.sh");
    let good = "#!/bin/sh\nn=0\nwhile read -r line; do echo \"{\\\"id\\\": $n, \\\"score\\\": 1.0}\"; n=$((n + 1)); BROKEN\ndone\n";
    let write = |last: &str| std::fs::write(&scores, good.replace("BROKEN", last)).unwrap();
    write("[ $n -lt 15 ] || exit 3");
    let command = format!("reward.command={{program=\"sh\", args=[{scores:?}], weight=0.5}}");
    let more = ["--set", &command];
    let output = train(&config, &run, &more).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", message(&output));
    let told = message(&output);
    assert!(told.contains("update-000003.json; `othink replay "), "{told}");
    let failed: Value =
        serde_json::from_slice(&std::fs::read(run.join("failed/update-000003.json")).unwrap())
            .unwrap();
    assert_eq!((&failed["stage"], &failed["completions"]), (&"reward".into(), &12.into()));
    assert_eq!(lines(&run.join("failed/update-000003.completions.jsonl")).len(), 12);

    // The run's process had rewarded the first batch as well.
    let (code, found) = replayed(&run, 3, &[]);
    assert_eq!((code, &found["outcome"]), (Some(1), &"no_longer_fails".into()), "{found}");
    for (n, code) in [(2, 1), (3, 0)] {
        write(&format!("[ $n -lt {n} ] || exit 3"));
        let (found_code, found) = replayed(&run, 3, &[]);
        assert_eq!((found_code, &found["outcome"]), (Some(code), &"failed".into()), "{found}");
    }
}

#[test]
fn a_loss_that_is_not_finite_comes_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run) = (config(folder.path(), "sft"), folder.path().join("run"));
    let more = ["--set", "optim.lr=3e37", "--set", "train.checkpoint_every=1"];
    assert_eq!(train(&config, &run, &more).output().unwrap().status.code(), Some(1));
    let failed = lines(&run.join("metrics.jsonl")).len() as u64 + 1;
    let output = replay(&run, failed, &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.contains("it failed in stage policy: update"), "{table}");
    assert!(table.ends_with("it fails again in the same way\n"), "{table}");
}

#[test]
fn what_cannot_be_computed_again_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |run: &Path, update, expected: &str| {
        let output = replay(run, update, &[]);
        let message = message(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "{message}");
    };
    refused(folder.path(), 1, "holds no config.toml");
    let (_, run) = trained(folder.path(), "grpo-d");
    refused(&run, 7, "update 7 is not on record in");
    let origin = run.join("origin.json");
    let text = std::fs::read_to_string(&origin).unwrap();
    let rows = lines_of(&text, "\"rows\"");
    std::fs::write(&origin, text.replace(&rows, "  \"rows\": \"0123456789abcdef\",")).unwrap();
    refused(&run, 1, "rows was 0123456789abcdef and is now");
}

/// The line of a text that has a word in it.
fn lines_of(text: &str, word: &str) -> String {
    text.lines().find(|line| line.contains(word)).unwrap().to_owned()
}

/// The second update of a batch fails: its completions are those that the first was made for.
#[test]
fn an_update_that_fails_within_its_batch_is_computed_again_from_the_batchs_completions() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run) = (config(folder.path(), "grpo-d"), folder.path().join("run"));
    let more = ["--set", "optim.lr=1e38", "--set", "optim.clip_norm=0"];
    assert_eq!(train(&config, &run, &more).output().unwrap().status.code(), Some(1));
    let left = lines(&run.join("failed/update-000002.completions.jsonl"));
    assert!(left.len() == 12 && left.iter().all(|line| line["update"] == 1), "{left:?}");
    let (code, found) = replayed(&run, 2, &[]);
    assert_eq!((code, &found["outcome"]), (Some(0), &"failed".into()), "{found}");
    assert_eq!(found["sampled"], false);
}
