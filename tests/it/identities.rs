//! Data, models and runs are identified by their contents: equal ones are computed once, different ones never confused.
//! Not here: fingerprints of every kind (`identity::fingerprint`), interruption and repetition (`experiments`).

use std::path::{Path, PathBuf};

use othink::data::{DrawnRows, DrawnTask, Split};
use othink::model::source::TINY;
use serde_json::{Value, json};

use crate::experiments::{done, killed, n_lines, othink};

const N_ROWS: usize = 4;

/// Rows of the counting task in files, with these solutions; their pictures stand beside them.
fn write_rows(folder: &Path, name: &str, solutions: &[String]) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let rows = DrawnRows::new(DrawnTask::VisualCounting, Split::Test, 0, 112).unwrap();
    let rows = othink::data::Dataset::Drawn(rows);
    let mut lines = String::new();
    for (idx, solution) in solutions.iter().enumerate() {
        let sample = rows.get(idx).unwrap();
        let picture = format!("{idx}.png");
        sample.images[0].load().unwrap().save(folder.join(&picture)).unwrap();
        let row = json!({
            "image": picture, "problem": sample.problem, "solution": solution, "thinking": "one, two"
        });
        lines = lines + &row.to_string() + "\n";
    }
    let path = folder.join(name);
    std::fs::write(&path, lines).unwrap();
    path
}

fn write_model(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for file in TINY {
        std::fs::write(folder.join(file.name), file.bytes).unwrap();
    }
}

fn wrong() -> Vec<String> {
    vec!["1000".to_owned(); N_ROWS]
}

/// The built-in model's answers to the questions of `folder`.
fn said(folder: &Path) -> Vec<String> {
    let eval = ["eval", "--task", "synth-vc", "--data", "test.jsonl", "--out", "said.jsonl"];
    done(folder, &eval);
    let text = std::fs::read_to_string(folder.join("said.jsonl")).unwrap();
    let answers = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    answers.map(|answer| answer["answer"].as_str().unwrap_or("999").to_owned()).collect()
}

#[test]
fn questions_of_the_same_name_and_number_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_rows(&root.join("a"), "test.jsonl", &wrong());
    write_rows(&root.join("b"), "test.jsonl", &said(&root.join("a")));
    // Whether any answer is right.
    let measure = |data: &str| {
        let data = format!("synth-vc={data}/test.jsonl");
        let words =
            ["cross-eval", "--train", "synth-vc", "--test", "synth-vc", "--methods", "base"];
        let output = done(root, &[&words[..], &["--data", &data, "--json"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["cells"][0]["accuracy"].as_f64().unwrap() > 0.0
    };
    let n_files = || std::fs::read_dir(root.join("runs/experiments/answers")).unwrap().count();
    assert!(!measure("a"));
    assert!(measure("b"), "that is the accuracy of a");
    assert_eq!((measure("a"), n_files()), (false, 2), "what was asked is not asked again");

    let ask = ["eval", "--task", "synth-vc", "--data", "b/test.jsonl", "--against", "a/said.jsonl"];
    let refused = othink(root, &ask).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "the same names are not the same questions");
}

/// A short run over rows in files.
const TRAINED: [&str; 8] = [
    "data.train=\"train.jsonl\"",
    "model.path=\"model\"",
    "train.updates=1",
    "grpo.prompts_per_update=1",
    "eval.before_training=false",
    "eval.after_training=false",
    "eval.limit=1",
    "eval.max_new_tokens=4",
];

/// A file, how it is edited, and the word for it in the message.
type Edit = (&'static str, fn(Vec<u8>) -> Vec<u8>, &'static str);

const EDITS: [Edit; 8] = [
    ("test.jsonl", |bytes| replaced(&bytes, "1000", "1001"), "rows"),
    ("test.jsonl", |bytes| replaced(&bytes, "How", "Now"), "rows"),
    (
        "3.png",
        |_| std::fs::read(crate::golden::folder().join("images/square.png")).unwrap(),
        "pictures",
    ),
    ("model/tokenizer_config.json", with_line_end, "tokenizer_config.json"),
    ("model/chat_template.json", with_line_end, "chat_template.json"),
    ("model/preprocessor_config.json", with_line_end, "preprocessor_config.json"),
    ("model/model.safetensors", |bytes| with_last_bit(bytes), "model.safetensors"),
    ("model/generation_config.json", |_| b"{\"eos_token_id\": 1}".to_vec(), "stop tokens"),
];

const RUN_EDITS: [Edit; 6] = [
    ("train.jsonl", |bytes| replaced(&bytes, "1000", "1001"), "rows"),
    ("train.jsonl", |bytes| replaced(&bytes, "two", "six"), "demonstrations"),
    (
        "0.png",
        |_| std::fs::read(crate::golden::folder().join("images/square.png")).unwrap(),
        "pictures",
    ),
    ("model/chat_template.json", with_line_end, "chat_template.json"),
    ("model/model.safetensors", with_last_bit, "model.safetensors"),
    ("model/tokenizer_config.json", with_line_end, "tokenizer_config.json"),
];

fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(old));
    text.replacen(old, new, 1).into_bytes()
}

fn with_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

fn with_last_bit(mut bytes: Vec<u8>) -> Vec<u8> {
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

#[test]
fn an_interrupted_evaluation_goes_on_over_the_same_contents_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_rows(root, "test.jsonl", &wrong());
    write_model(&root.join("model"));
    let ask = ["eval", "--task", "synth-vc", "--data", "test.jsonl", "--model", "model"];
    let ask = [&ask[..], &["--samples", "100", "--out"]].concat();
    done(root, &[&ask[..], &["whole.jsonl"]].concat());
    let cut = [&ask[..], &["cut.jsonl"]].concat();
    let partial = root.join("cut.jsonl.partial");
    killed(root, &cut, || n_lines(&partial) > 1);
    let kept = std::fs::read(&partial).unwrap();

    let is_refused = |words: &[&str], key: &str| {
        let refused = othink(root, words).output().unwrap();
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{key}: {message}");
        let named = format!("holds the answers of an unfinished evaluation with {key} = ");
        assert!(message.contains(&named), "{key}: {message}");
        assert!(std::fs::read(&partial).unwrap() == kept, "{key}: what was answered is kept");
    };
    for (name, edit, key) in EDITS {
        let path = root.join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, edit(before.clone())).unwrap();
        is_refused(&cut, key);
        std::fs::write(&path, before).unwrap();
    }
    for (flag, value, key) in [
        ("--limit", "3", "questions"),
        ("--template", "plain", "template"),
        ("--seed", "7", "seed"),
    ] {
        is_refused(&[&cut[..], &[flag, value]].concat(), key);
    }
    // Rows beyond the limit change nothing; with data and model as they were, the evaluation is continued.
    done(root, &cut);
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert!(read("cut.jsonl") == read("whole.jsonl"));
}

/// The command that made a short run in `run`.
fn trained(root: &Path) -> Vec<&'static str> {
    write_rows(root, "train.jsonl", &wrong());
    write_model(&root.join("model"));
    let mut train = vec!["train", "--config", "sft-synth-vc.toml", "--out", "run"];
    for change in TRAINED {
        train.extend(["--set", change]);
    }
    done(root, &train);
    train
}

#[test]
fn a_run_is_resumed_over_what_it_began_with_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let train = trained(root);
    let resume = [&train[..], &["--resume"]].concat();
    let all_the_same = [&resume[..], &["--allow-changed-data"]].concat();
    let origin = || -> Value {
        let text = std::fs::read_to_string(root.join("run/origin.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let began = origin();
    let refused = |words: &[&str]| {
        let output = othink(root, words).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(origin(), began);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let edited = |(name, edit, key): Edit, then: &dyn Fn(&str)| {
        let path = root.join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, edit(before.clone())).unwrap();
        then(key);
        std::fs::write(&path, before).unwrap();
    };
    for edit in RUN_EDITS {
        edited(edit, &|key| {
            let message = refused(&resume);
            let named = format!("origin.json: not what the run began with: {key} was ");
            assert!(message.contains(&named), "{key}: {message}");
            assert_eq!(message.contains("--allow-changed-data"), key != "model.safetensors");
        });
    }
    done(root, &resume);
    // The reference is made of the base model's weights, and a run has one reference.
    let [rows, .., weights, _] = RUN_EDITS;
    edited(weights, &|_| {
        assert!(refused(&all_the_same).contains("model.safetensors was "));
    });
    edited(rows, &|_| {
        let output = done(root, &all_the_same);
        assert!(
            String::from_utf8_lossy(&output.stderr)
                .contains("going on over changed data: rows was ")
        );
        let (origin, change) = (origin(), &origin()["changes"][0]);
        assert_eq!(
            (&change["after_update"], &change["changed"][0]["key"]),
            (&json!(1), &json!("rows"))
        );
        assert_eq!(change["changed"][0]["stored"], began["contents"]["rows"]);
        assert_eq!(change["changed"][0]["given"], origin["contents"]["rows"]);
        done(root, &resume);
    });

    std::fs::remove_file(root.join("run/origin.json")).unwrap();
    let older = othink(root, &all_the_same).output().unwrap();
    assert_eq!(older.status.code(), Some(2));
    let message = String::from_utf8_lossy(&older.stderr);
    assert!(message.contains("earlier versions did not write that down"), "{message}");
}

#[test]
fn a_checkpoint_that_is_not_whole_is_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    trained(root);
    let checkpoint = "run/checkpoints/step-000001";
    let ask = ["eval", "--task", "synth-vc", "--limit", "1", "--max-new-tokens", "4", "--model"];
    let ask = [&ask[..], &[checkpoint]].concat();
    done(root, &ask);
    // A damaged state of the optimiser makes no other answers.
    std::fs::write(root.join(checkpoint).join("trainer/optimizer.safetensors"), "").unwrap();
    done(root, &ask);
    let path = root.join(checkpoint).join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let mut zeroed = whole.clone();
    let middle = whole.len() / 2;
    zeroed[middle..middle + 64].fill(0);
    for (damaged, found) in [(&zeroed[..], "the checksum"), (&whole[..middle], "bytes, expected")] {
        std::fs::write(&path, damaged).unwrap();
        for more in [&[][..], &["--out", "said.jsonl"]] {
            let refused = othink(root, &[&ask[..], more].concat()).output().unwrap();
            let message = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{message}");
            let named = "run/checkpoints/step-000001 is damaged: model.safetensors has ";
            assert!(message.contains(named) && message.contains(found), "{message}");
        }
    }
}

#[test]
fn a_run_is_trained_anew_where_its_rows_or_its_base_model_hold_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_rows(root, "train.jsonl", &wrong());
    write_model(&root.join("model"));
    let mut sweep = vec!["sweep", "--config", "sft-synth-vc.toml", "--vary", "data.workers=3"];
    for change in TRAINED {
        sweep.extend(["--set", change]);
    }
    let n_runs = || {
        let output = done(root, &sweep);
        let runs = std::fs::read_dir(root.join("runs/experiments")).unwrap();
        let n = runs.filter(|run| run.as_ref().unwrap().path().join("finished").exists()).count();
        (n, String::from_utf8_lossy(&output.stderr).contains("trained already"))
    };
    assert_eq!(n_runs(), (1, false));
    assert_eq!(n_runs(), (1, true));
    for (n, (name, edit, _)) in RUN_EDITS.into_iter().enumerate() {
        let path = root.join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, edit(before.clone())).unwrap();
        assert_eq!(n_runs(), (n + 2, false), "{name}");
        std::fs::write(&path, before).unwrap();
    }
    assert_eq!(n_runs(), (RUN_EDITS.len() + 1, true));
}
