//! The examples that `--help` ends in, run as they stand there but for their length.
//! Not here: the help's own text (`cli`).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A run of one small update.
const SHORT_RUN: &[&str] = &[
    "--set",
    "train.updates=1",
    "--set",
    "grpo.prompts_per_update=1",
    "--set",
    "eval.before_training=false",
    "--set",
    "eval.after_training=false",
    "--set",
    "eval.limit=1",
    "--set",
    "rollout.max_new_tokens=4",
];

/// What makes an example of a command short.
const SHORTER: [(&str, &[&str]); 8] = [
    ("train", SHORT_RUN),
    ("eval", &["--limit", "2", "--max-new-tokens", "4"]),
    ("infer", &["--max-new-tokens", "4"]),
    ("grade", &[]),
    ("replay", &[]),
    ("report", &[]),
    ("cross-eval", SHORT_RUN),
    ("sweep", SHORT_RUN),
];

/// What no test can download: a model of the hub, a published task's data.
const FROM_THE_HUB: [&str; 2] = ["Qwen/", "gr=geoqa"];

fn othink(folder: &Path, words: &[String]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_othink")).args(words).current_dir(folder).output().unwrap()
}

/// The words of every line below `Examples:` in a command's help, without the program's name.
fn examples(folder: &Path, command: Option<&str>) -> Vec<Vec<String>> {
    let words: Vec<String> = command.into_iter().chain(["--help"]).map(str::to_owned).collect();
    let help = String::from_utf8(othink(folder, &words).stdout).unwrap();
    let (_, lines) = help.split_once("Examples:\n").unwrap();
    let lines = lines.lines().filter_map(|line| line.trim().strip_prefix("othink "));
    lines.map(words_of).collect()
}

/// Words as a shell splits them: at spaces that stand outside double quotes.
fn words_of(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn every_example_of_the_help_runs() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "photo.png"] {
        image::RgbImage::from_pixel(56, 56, image::Rgb([200, 30, 30]))
            .save(folder.path().join(name))
            .unwrap();
    }
    let chat = r#"[{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "?"}]}]"#;
    std::fs::write(folder.path().join("chat.json"), chat).unwrap();
    let answers = r#"{"completion": "<answer> 7 </answer>", "solution": "7"}"#;
    std::fs::write(folder.path().join("answers.jsonl"), answers).unwrap();
    let mut ran = BTreeSet::new();
    // Training first: what it leaves is what the other examples read.
    let others = ["eval", "infer", "grade", "replay", "report", "cross-eval", "sweep"].map(Some);
    for command in [Some("train"), None].into_iter().chain(others) {
        let examples = examples(folder.path(), command);
        assert!((2..=3).contains(&examples.len()), "{command:?}: {examples:?}");
        for example in examples {
            let is_fetched = |word: &String| FROM_THE_HUB.iter().any(|name| word.starts_with(name));
            let needs_the_hub = example.iter().any(is_fetched);
            if needs_the_hub || !ran.insert(example.clone()) {
                continue;
            }
            let shorter = SHORTER.iter().find(|(name, _)| *name == example[0]).unwrap().1;
            let limit: &[&str] = if example[0] == "cross-eval" { &["--limit", "2"] } else { &[] };
            let shorter = [shorter, limit].concat();
            let words = [&example[..], &shorter.iter().map(|&w| w.to_owned()).collect::<Vec<_>>()];
            let output = othink(folder.path(), &words.concat());
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{example:?}: {errors}");
            // The run was cut short; its only checkpoint stands for the one that the examples name.
            let checkpoints = folder.path().join("runs/quickstart/checkpoints");
            let (made, named) = (checkpoints.join("step-000001"), checkpoints.join("step-000100"));
            if made.is_dir() && example.iter().any(|word| word == "--resume") {
                std::fs::rename(made, named).unwrap();
            }
        }
    }
    assert!(ran.len() >= 14, "{ran:?}");
}
