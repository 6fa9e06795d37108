//! Runs that end early: a bad row or other weights in mid-run, Ctrl-C during an evaluation.
//! Not here: kills and Ctrl-C during an update (`train`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::runs::{config, lines, train};
use crate::train::{assert_same_run, succeed};

/// So many rows that the plan of a run does not look at every one, and the picture of the fourth.
fn rows(folder: &Path) -> [PathBuf; 2] {
    let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut rows = String::new();
    for row in 0..60 {
        picture.save(folder.join(format!("{row}.png"))).unwrap();
        let row = serde_json::json!({
            "image": format!("{row}.png"), "problem": "How many?", "solution": row.to_string(),
        });
        rows.extend([row.to_string(), "\n".to_owned()]);
    }
    let (file, bad) = (folder.join("rows.jsonl"), folder.join("3.png"));
    std::fs::write(&file, rows).unwrap();
    [file, bad]
}

#[test]
fn a_bad_row_in_mid_run_loses_no_update_and_the_mended_run_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let [file, bad] = rows(folder.path());
    let data = format!("data.train={file:?}");
    let mut more = vec!["--set", &data];
    for change in [
        "data.task=synth-vc",
        "data.shuffle=false",
        "grpo.prompts_per_update=1",
        "grpo.mini_batches=1",
        "grpo.updates_per_rollout=1",
        "train.checkpoint_every=0",
    ] {
        more.extend(["--set", change]);
    }
    let whole = folder.path().join("whole");
    succeed(train(&config, &whole, &more));

    let good = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &good[..good.len() / 2]).unwrap();
    let broken = folder.path().join("broken");
    let output = train(&config, &broken, &more).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("rows.jsonl:4") && message.contains("step-000003"), "{message}");
    assert_eq!(lines(&broken.join("metrics.jsonl")).len(), 3);
    std::fs::write(&bad, &good).unwrap();
    // The run began with the picture as it was then.
    let resumed = [&more[..], &["--resume", "--allow-changed-data"]].concat();
    succeed(train(&config, &broken, &resumed));
    assert_same_run(&whole, &broken);
}

#[test]
fn an_error_in_the_first_batch_or_between_its_updates_saves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let [file, bad] = rows(folder.path());
    let good = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &good[..good.len() / 2]).unwrap();
    let data = format!("data.train={file:?}");
    // A rate this large makes the second update's loss NaN.
    for (name, more, code, named) in [
        ("first", ["--set", &data, "--set", "data.shuffle=false"], 2, "rows.jsonl:4"),
        ("second", ["--set", "optim.lr=1e38", "--set", "optim.clip_norm=0"], 1, "synth-vc/train/"),
    ] {
        let out = folder.path().join(name);
        let output = train(&config, &out, &more).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(named) && !message.contains("saved"), "{message}");
        assert!(!out.join("checkpoints").exists(), "{name}: {message}");
    }
    // Nothing is in the way of starting again.
    std::fs::write(&bad, &good).unwrap();
    let more = ["--set", &data, "--set", "data.shuffle=false"];
    succeed(train(&config, &folder.path().join("first"), &more));
}

#[test]
fn a_missing_picture_is_found_before_the_run_begins_where_rows_may_not_be_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let [file, bad] = rows(folder.path());
    std::fs::remove_file(&bad).unwrap();
    let (data, out) = (format!("data.train={file:?}"), folder.path().join("run"));
    let more = ["--set", &data, "--set", "data.shuffle=false", "--set", "train.updates=1"];
    let fails = train(&config, &out, &more).output().unwrap();
    let message = String::from_utf8(fails.stderr).unwrap();
    assert!(message.contains("rows.jsonl: line 4"), "{message}");
    assert_eq!(fails.status.code(), Some(2));
    assert!(!out.exists());
    succeed(train(&config, &out, &[&more[..], &["--set", "data.on_bad_row=skip"]].concat()));
}

#[test]
fn a_bad_row_that_may_be_skipped_is_replaced_so_that_every_mini_batch_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let [file, bad] = rows(folder.path());
    let good = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &good[..good.len() / 2]).unwrap();
    let data = format!("data.train={file:?}");
    let more = ["--set", &data, "--set", "data.shuffle=false", "--set", "data.on_bad_row=skip"];
    let out = folder.path().join("run");
    let output =
        succeed(train(&config, &out, &[&more[..], &["--set", "train.updates=2"]].concat()));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("left out a row: ") && message.contains("rows.jsonl:4"), "{message}");
    // Two mini-batches of two prompts: rows 1, 2, 3 and, in place of 4, 5.
    let completions = lines(&out.join("completions.jsonl"));
    let asked: Vec<&str> =
        completions.iter().step_by(3).map(|line| line["prompt_id"].as_str().unwrap()).collect();
    assert_eq!(asked, ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:5"]);
    // Each mini-batch was trained once: the two lines are of different completions.
    let metrics = lines(&out.join("metrics.jsonl"));
    let length = |of: &[serde_json::Value]| {
        of.iter().map(|line| line["n_tokens"].as_f64().unwrap()).sum::<f64>() / of.len() as f64
    };
    for (line, completions) in metrics.iter().zip(completions.chunks(6)) {
        assert_eq!(line["completion_length"].as_f64(), Some(length(completions)));
    }
}

/// A reward of one's own removes the tokenizer in the first batch, and in the second changes the weights' time of modification.
#[cfg(unix)]
#[test]
fn other_weights_in_mid_run_end_it_with_a_whole_checkpoint_and_with_the_old_ones_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in std::fs::read_dir("tests/golden/micro/policy").unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let [weights, tokenizer] = ["model.safetensors", "tokenizer.json"].map(|name| model.join(name));
    let (whole, modified) = (std::fs::read(&tokenizer).unwrap(), weights.metadata().unwrap());
    let mended = folder.path().join("mended");
    // A batch has 12 completions.
    let spoil = format!(
        "n=0; while read -r line; do n=$((n+1)); if ! [ -e {mended:?} ]; then \
         [ $n != 1 ] || rm {tokenizer:?}; [ $n != 13 ] || touch -d 2001-02-03 {weights:?}; fi; \
         id=${{line#*\\\"id\\\":}}; echo \"{{\\\"id\\\":${{id%%,*}},\\\"score\\\":1}}\"; done"
    );
    let path = format!("model.path={model:?}");
    let args = format!("reward.command.args=[\"-c\", {spoil:?}]");
    let more = ["--set", &path, "--set", "reward.command.program=sh", "--set", &args];
    let out = folder.path().join("run");
    let output = train(&config, &out, &more).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    let told = "model.safetensors has another time of modification than when the run opened it";
    assert!(message.contains(told), "{message}");
    assert!(!out.join("failed").exists(), "nothing is to be computed again: {message}");
    assert_eq!(std::fs::read(out.join("checkpoints/step-000002/tokenizer.json")).unwrap(), whole);

    std::fs::write(&tokenizer, &whole).unwrap();
    std::fs::write(&mended, "").unwrap();
    let file = std::fs::File::options().write(true).open(&weights).unwrap();
    file.set_modified(modified.modified().unwrap()).unwrap();
    succeed(train(&config, &out, &[&more[..], &["--resume"]].concat()));
    assert_eq!(lines(&out.join("metrics.jsonl")).len(), 6);
}

#[cfg(unix)]
#[test]
fn ctrl_c_during_an_evaluation_ends_it_and_the_resumed_run_measures_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let out = folder.path().join("run");
    let more = ["--set", "eval.before_training=true", "--set", "eval.limit=400"];
    let mut command = train(&config, &out, &more);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(2);
    while !out.join("metrics.jsonl").exists() {
        assert!(Instant::now() < deadline, "the run did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    let interrupted = std::process::Command::new("kill").args(["-INT", &pid]).status();
    assert!(interrupted.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(lines(&out.join("evaluations.jsonl")).is_empty());
    assert!(out.join("checkpoints/step-000000").is_dir());
    let small = ["--set", "eval.before_training=true", "--set", "eval.limit=400", "--resume"];
    succeed(train(&config, &out, &small));
    let measured = lines(&out.join("evaluations.jsonl"));
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0]["update"], 0);
    assert_eq!(lines(&out.join("metrics.jsonl")).len(), 6);
}
