//! `rollout.replay`: a run on the completions that another run has recorded.
//! Not here: the file's own errors, line by line (`rollout::replay`); a replayed run against torch (`trainer_golden`).

use std::path::{Path, PathBuf};

use crate::runs::{config, lines, train};
use crate::train::{assert_same_run_but, succeed};

/// With this, sampling would give other completions than the recorded ones; training does not use it.
const OTHERWISE: [&str; 2] = ["--set", "rollout.top_k=2"];

/// A replayed run does not sample, and so has no values for these.
const MISMATCH: [&str; 2] = ["logp_mismatch_max", "logp_mismatch_mean"];

fn replay(path: &Path) -> String {
    format!("rollout.replay='{}'", path.display())
}

/// A run of six updates and the run file that it was made with.
fn recorded(folder: &Path, more: &[&str]) -> (PathBuf, PathBuf) {
    let (config, out) = (config(folder, "grpo-d"), folder.join("recorded"));
    succeed(train(&config, &out, more));
    (config, out)
}

#[test]
fn a_run_on_its_own_completions_is_the_same_to_the_bit_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (config, first) = recorded(folder.path(), &[]);
    for record in lines(&first.join("completions.jsonl")) {
        let n = record["token_ids"].as_array().unwrap().len();
        assert_eq!(record["n_tokens"].as_u64(), Some(n as u64));
    }
    for line in lines(&first.join("metrics.jsonl")) {
        let [max, mean] = MISMATCH.map(|field| line[field].as_f64().unwrap());
        assert!(0.0 < mean && mean <= max && max < 1e-4, "{line}");
    }
    let replay = replay(&first.join("completions.jsonl"));
    let more = [&OTHERWISE[..], &["--set", &replay]].concat();
    let second = folder.path().join("second");
    succeed(train(&config, &second, &more));
    for line in lines(&second.join("metrics.jsonl")) {
        assert!(MISMATCH.iter().all(|field| line[*field].is_null()), "{line}");
    }
    assert_same_run_but(&MISMATCH, &first, &second);

    for update in ["step-000004", "step-000006"] {
        std::fs::remove_dir_all(second.join("checkpoints").join(update)).unwrap();
    }
    let resumed = [&more[..], &["--resume"]].concat();
    succeed(train(&config, &second, &resumed));
    assert_same_run_but(&MISMATCH, &first, &second);

    // The file belongs to the run's identity.
    let output = train(&config, &second, &["--resume"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("rollout.replay"), "{message}");
}

#[test]
fn completions_that_do_not_fit_the_run_end_it_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = recorded(folder.path(), &["--set", "train.updates=4"]);
    let text = std::fs::read_to_string(out.join("completions.jsonl")).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let path = folder.path().join("changed.jsonl");
    let failed = |lines: &[&str]| {
        std::fs::write(&path, lines.join("\n")).unwrap();
        let more = ["--set", &replay(&path), "--set", "train.updates=4"];
        let out = tempfile::tempdir().unwrap();
        let output = train(&config, &out.path().join("run"), &more).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let last = &lines(&out.join("completions.jsonl"))[23];
    assert_eq!((last["update"].as_u64(), last["completion_idx"].as_u64()), (Some(3), Some(2)));
    let prompt = last["prompt_id"].as_str().unwrap();
    let message = failed(&all[..23]);
    let named = format!("found no completion 2 of prompt {prompt} for update 3");
    assert!(message.contains(&named), "{message}");
    let message = failed(&[&all[..], &all[23..]].concat());
    let named = format!("line 25: found completion 2 of prompt {prompt} for update 3");
    assert!(message.contains(&named), "{message}");
    std::fs::remove_file(&path).unwrap();
    let more = ["--set", &replay(&path)];
    let output = train(&config, &folder.path().join("none"), &more).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn tokens_are_left_out_of_the_record_where_nobody_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--set", "train.updates=2", "--set", "train.record_token_ids=false"];
    let (config, out) = recorded(folder.path(), &more);
    let completions = out.join("completions.jsonl");
    assert!(lines(&completions).iter().all(|record| record.get("token_ids").is_none()));
    let more = ["--set", "train.updates=2", "--set", &replay(&completions)];
    let output = train(&config, &folder.path().join("second"), &more).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("line 1: found no field `token_ids`"), "{message}");
    assert!(!folder.path().join("second").exists());
}
