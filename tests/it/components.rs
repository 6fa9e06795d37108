//! Reward components in an evaluation, as a user meets them.
//! `SNAPSHOTS=overwrite cargo test --test it` rewrites the expected texts; read the difference.
//! Not here: what a component is worth (unit tests), components in training (`train`).

use serde_json::Value;
use snapbox::cmd::{Command, cargo_bin};
use snapbox::str;

/// A folder with two questions whose solutions are boxes, and one whose solution is none.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let row = |solution| format!("{{\"problem\": \"Where?\", \"solution\": \"{solution}\"}}\n");
    let boxes = row("[1, 2, 3, 4]") + &row("[[1, 2, 3, 4], [5, 6, 7, 8]]");
    std::fs::write(folder.path().join("boxes.jsonl"), &boxes).unwrap();
    std::fs::write(folder.path().join("mixed.jsonl"), boxes + &row("left")).unwrap();
    folder
}

fn eval(folder: &tempfile::TempDir, words: &str) -> Command {
    Command::new(cargo_bin!("othink"))
        .args("eval --model tiny --template short --max-new-tokens 4".split(' '))
        .args(words.split(' '))
        .current_dir(folder.path())
        .env_remove("OTHINK_LOG")
}

#[test]
fn named_components_are_in_the_summary_and_with_every_answer() {
    let folder = folder();
    let words = "--data boxes.jsonl --components box_iou,length_penalty --out answers.jsonl";
    let output = eval(&folder, &format!("{words} --json")).assert().success().get_output().clone();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&String> = summary["components"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["box_iou", "length_penalty"]);
    let mean = |name: &str| summary["components"][name]["mean"].as_f64();
    assert_eq!((mean("box_iou"), mean("length_penalty")), (Some(0.0), Some(0.0)));
    let answers = std::fs::read_to_string(folder.path().join("answers.jsonl")).unwrap();
    let is_measured =
        |line: &str| line.contains(r#""components":{"box_iou":0.0,"length_penalty":"#);
    assert!(answers.lines().count() == 2 && answers.lines().all(is_measured), "{answers}");
    let table = eval(&folder, "--data boxes.jsonl --components length_penalty");
    table.assert().success().stdout_eq(str![[r#"
...
length_penalty 0.000 (95%: 0.000 to 0.000)

"#]]);
}

#[test]
fn unknown_component_is_answered_with_those_there_are() {
    eval(&folder(), "--data boxes.jsonl --components iou").assert().code(2).stderr_eq(str![[r#"
error: invalid value 'iou' for '--components <NAMES>': found the reward component "iou", expected one of accuracy, format, choice, relative_error, set_match, box_iou, length_penalty, repetition_penalty
hint: docs/rewards.md describes each

For more information, try '--help'.

"#]]);
}

#[test]
fn solution_that_a_component_cannot_use_is_named_by_its_row() {
    eval(&folder(), "--data mixed.jsonl --components box_iou")
        .assert()
        .code(2)
        .stderr_eq(str![[r#"
error: sample mixed.jsonl:3: found the solution "left", expected 1 to 32 boxes [x1, y1, x2, y2], each with an area for the reward component box_iou
hint: correct the solution, leave the row out, or take box_iou out of [reward.weights] (--components of eval)
hint: data.allow_unparsable = true (--allow-unparsable of eval) counts such rows instead

"#]]);
}
