//! Evaluations and experiments that are interrupted, repeated and compared.
//! Not here: a single run's resumption (`train`), the figures' arithmetic (unit tests).

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) fn othink(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(words).current_dir(folder).env_remove("RUST_BACKTRACE");
    command
}

pub(crate) fn done(folder: &Path, words: &[&str]) -> Output {
    let output = othink(folder, words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    output
}

/// Starts a command and kills it once `is_far_enough` says so.
pub(crate) fn killed(folder: &Path, words: &[&str], is_far_enough: impl Fn() -> bool) {
    let mut child =
        othink(folder, words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !is_far_enough() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(started.elapsed() < Duration::from_mins(2), "no progress within two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

pub(crate) fn n_lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn killed_evaluation_goes_on_and_gives_the_answers_of_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ask = ["eval", "--task", "synth-vc", "--limit", "150", "--samples", "2", "--out"];
    let whole = done(path, &[&ask[..], &["whole.jsonl", "--json"]].concat());
    let partial = path.join("cut.jsonl.partial");
    killed(path, &[&ask[..], &["cut.jsonl"]].concat(), || n_lines(&partial) > 20);
    let n_kept = n_lines(&partial);
    let resumed = done(path, &[&ask[..], &["cut.jsonl", "--json"]].concat());
    assert!(n_kept > 20 && !partial.exists());
    assert_eq!(whole.stdout, resumed.stdout);
    let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    assert_eq!(read("whole.jsonl"), read("cut.jsonl"));
    assert_eq!(read("cut.jsonl").lines().count(), 300);
    let summary: Value = serde_json::from_slice(&whole.stdout).unwrap();
    let sampled = &summary["sampled"];
    assert!(sampled["pass_at"]["2"].as_f64() >= sampled["pass_at"]["1"].as_f64());
    assert_eq!(sampled["pass_at"]["1"], summary["accuracy"]);
}

#[test]
fn two_models_are_compared_question_by_question() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ask = ["eval", "--task", "synth-vc", "--limit", "60"];
    done(path, &[&ask[..], &["--temperature", "1", "--out", "sampled.jsonl"]].concat());
    let compared = done(path, &[&ask[..], &["--against", "sampled.jsonl", "--json"]].concat());
    let report: Value = serde_json::from_slice(&compared.stdout).unwrap();
    let against = &report["against"];
    let count = |key: &str| against[key].as_u64().unwrap();
    assert_eq!(against["n"], 60);
    assert_eq!(report["correct"].as_u64().unwrap(), count("both_correct") + count("only_first"));
    let right = std::fs::read_to_string(path.join("sampled.jsonl")).unwrap();
    let right = right.lines().filter(|line| line.contains("\"accuracy\":1.0")).count();
    assert_eq!(right as u64, count("both_correct") + count("only_second"));
    let itself = done(path, &[&ask[..], &["--against", "tiny"]].concat());
    let table = String::from_utf8(itself.stdout).unwrap();
    assert!(table.contains("+0.0 points") && table.contains("p = 1.0000"), "{table}");
}

const RUNS: [&str; 20] = [
    "--set",
    "train.updates=4",
    "--set",
    "train.checkpoint_every=1",
    "--set",
    "grpo.prompts_per_update=1",
    "--set",
    "grpo.group_size=2",
    "--set",
    "rollout.max_new_tokens=8",
    "--set",
    "eval.before_training=false",
    "--set",
    "eval.after_training=false",
    "--set",
    "eval.limit=20",
    "--set",
    "eval.max_new_tokens=16",
    "--json",
    "--runs",
];

#[test]
fn killed_cross_evaluation_goes_on_and_a_repeated_one_computes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let cross = ["cross-eval", "--train", "synth-gr", "--test", "synth-vc,synth-gr"];
    let cross = [&cross[..], &["--methods", "base,sft,grpo-d", "--limit", "20"], &RUNS].concat();
    let whole = done(path, &[&cross[..], &["whole"]].concat());

    let has_begun = || {
        let runs = std::fs::read_dir(path.join("cut")).into_iter().flatten().flatten();
        let mut runs = runs.map(|run| run.path().join("checkpoints/step-000002"));
        runs.any(|checkpoint| checkpoint.is_dir())
    };
    killed(path, &[&cross[..], &["cut"]].concat(), has_begun);
    // The same except for the path of the answers.
    let found = |output: Output| {
        String::from_utf8(output.stdout).unwrap().replace("cut/answers/", "whole/answers/")
    };
    let whole = found(whole);
    let resumed = done(path, &[&cross[..], &["cut"]].concat());
    assert_eq!(whole, found(resumed));

    let written = || {
        let files = walk(&path.join("cut"));
        files.into_iter().map(|file| (file.metadata().unwrap().modified().unwrap(), file)).collect()
    };
    let before: Vec<_> = written();
    let repeated = done(path, &[&cross[..], &["cut"]].concat());
    assert_eq!((found(repeated), written()), (whole.clone(), before));

    let report: Value = serde_json::from_str(&whole).unwrap();
    let cells = report["cells"].as_array().unwrap();
    let names: Vec<_> = cells.iter().map(|cell| (&cell["test"], &cell["method"])).collect();
    assert_eq!(names.len(), 6);
    assert_eq!((names[0].0, names[0].1), (&Value::from("synth-vc"), &Value::from("base")));
    for cell in cells {
        let answers = path.join(cell["answers"][0].as_str().unwrap());
        assert_eq!(n_lines(&answers), 20, "{answers:?}");
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn a_finished_run_whose_checkpoint_is_damaged_is_trained_on_and_comes_out_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let sweep = ["sweep", "--config", "quickstart.toml", "--vary", "reward.alpha=1"];
    let words = [&sweep[..], &RUNS, &["runs"]].concat();
    let whole = done(path, &words).stdout;
    let run = std::fs::read_dir(path.join("runs")).unwrap().flatten().map(|entry| entry.path());
    let run = run.into_iter().find(|run| run.join("finished").exists()).unwrap();
    let weights = |update: u32| run.join(format!("checkpoints/step-{update:06}/model.safetensors"));
    let last = std::fs::read(weights(4)).unwrap();
    let damage = |update: u32| {
        let mut bytes = std::fs::read(weights(update)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(weights(update), bytes).unwrap();
    };
    // Three checkpoints are kept: the last one is damaged, then all of them; at the end `finished` itself is emptied.
    for (damaged, said) in [(&[4][..], "using the one before it"), (&[2, 3, 4], "it starts over")] {
        damaged.iter().copied().for_each(damage);
        let output = done(path, &words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let told: Vec<&str> = told.lines().filter(|line| line.contains("damaged")).collect();
        assert!(
            told.len() == 1 && told[0].contains("step-000004") && told[0].contains(said),
            "{told:?}"
        );
        assert!(output.stdout == whole && std::fs::read(weights(4)).unwrap() == last);
    }
    std::fs::write(run.join("finished"), "").unwrap();
    assert!(done(path, &words).stdout == whole);
    let again = done(path, &words);
    assert!(String::from_utf8_lossy(&again.stderr).contains("trained already"));
}

#[test]
fn sweep_trains_one_run_for_each_value_and_draws_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let sweep = ["sweep", "--config", "quickstart.toml", "--vary", "reward.alpha=0,1"];
    let words = [&sweep[..], &["--plot", "alpha.svg"], &RUNS, &["runs"]].concat();
    let swept = done(path, &words);
    let report: Value = serde_json::from_slice(&swept.stdout).unwrap();
    let values: Vec<_> = report["points"].as_array().unwrap().iter().collect();
    assert_eq!((report["key"].as_str(), values.len()), (Some("reward.alpha"), 2));
    assert!(values.iter().all(|point| point["n"] == 20));
    let picture = std::fs::read_to_string(path.join("alpha.svg")).unwrap();
    assert!(picture.contains("<svg") && picture.contains("reward.alpha"));
    let wrong = ["sweep", "--config", "quickstart.toml", "--vary", "reward.alpa=0,1"];
    let refused = othink(path, &wrong).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("reward.alpha"));
}

#[test]
fn sweep_of_a_key_that_has_no_effect_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (vary, set, why) in [
        ("kl.beta=0,0.02", "kl.schedule=dynamic", "kl.schedule = \"dynamic\" does not read it"),
        ("kl.beta_max=0,0.02", "kl.schedule=constant", "kl.schedule = \"constant\" does not"),
        ("rollout.top_k=0,5", "method=sft", "method = \"sft\" samples no completions"),
        (
            "sft.target=auto,solution",
            "method=grpo-d",
            "method = \"grpo-d\" does not train on answers",
        ),
    ] {
        let words = ["sweep", "--config", "quickstart.toml", "--vary", vary, "--set", set];
        let refused = othink(folder.path(), &words).output().unwrap();
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        let (key, _) = vary.split_once('=').unwrap();
        let start = format!("error: {key}: no effect, because {why}");
        assert!(message.starts_with(&start) && message.contains("\nhint: "), "{message}");
    }
    assert!(walk(folder.path()).is_empty());
}

#[test]
fn unknown_task_of_a_cross_evaluation_is_code_2_and_nothing_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    for (train, test) in [("cats", "vc"), ("synth-vc,cats", "vc"), ("synth-vc", "cats")] {
        let tasks = ["--train", train, "--test", test];
        let output =
            othink(folder.path(), &[&["cross-eval"], &tasks[..]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{tasks:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        let expected = "unknown task `cats`, expected one of synth-vc, synth-gr, vc, superclevr, \
                        gr, geoqa\nhint: ";
        assert!(message.contains(expected), "{tasks:?}: {message}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "something was written");
}
