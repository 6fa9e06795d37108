//! `othink data` and `othink init` on data of one's own, as a user meets them.
//! Not here: what a run does with such data (`own_data`), what each reader refuses (unit tests of `data`).

use serde_json::{Value, json};

use crate::own_data::{looked_at, othink, pictures, row, stderr, stdout, with, write_rows};
use crate::runs::lines;

#[test]
fn data_shows_fields_lengths_golds_and_whole_prompts() {
    let folder = pictures(5);
    write_rows(
        folder.path(),
        "rows.jsonl",
        (0..5).map(|idx| with(row(idx), json!({"topic": "a"}))),
    );
    let table = stdout(&looked_at(folder.path(), &[]));
    for part in [
        "rows for training: rows.jsonl",
        "rows           5",
        "fields         image 5, problem 5, solution 5, topic 5",
        "pictures       1 a row",
        "golds          all can be read",
        "prompt of rows.jsonl:1, solution 0",
        "prompt of rows.jsonl:3, solution 2",
        "prompt of rows.jsonl:5, solution 4",
        "How many at 4?",
        "0.png, ",
        "|<|image_pad|> x ",
        "a run can be made on this",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let output = looked_at(folder.path(), &["--json", "--prompts", "1"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = &found["data"][0];
    let [text, image] =
        ["text_tokens", "image_tokens"].map(|name| rows[name]["most"].as_u64().unwrap());
    assert_eq!(rows["prompt_tokens"]["most"].as_u64(), Some(text + image));
    let prompt = &rows["prompts"][0];
    let n: u64 =
        prompt["tokens"].as_array().unwrap().iter().map(|t| t["times"].as_u64().unwrap()).sum();
    assert_eq!(n, text + image);
    assert_eq!(prompt["pictures"][0]["tokens"].as_u64(), Some(image));
}

#[test]
fn data_counts_golds_that_cannot_be_read_and_shows_a_tasks_rows() {
    let folder = pictures(2);
    let rows = [row(0), with(row(1), json!({"solution": "\\frac{1}{"}))];
    write_rows(folder.path(), "rows.jsonl", rows);
    let output = looked_at(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stdout(&output).contains("golds          1 cannot be read\n    rows.jsonl:2: "),
        "{}",
        stdout(&output)
    );
    let allowed = looked_at(folder.path(), &["--set", "data.allow_unparsable=true"]);
    assert!(allowed.status.success());
    let taught = looked_at(folder.path(), &["--set", "method=sft"]);
    let unread = "golds          not read: completions are taught";
    assert!(stdout(&taught).contains(unread), "{}", stdout(&taught));
    let task = othink(folder.path(), &["data", "synth-vc", "--prompts", "1"]);
    let table = stdout(&task);
    assert!(task.status.success(), "{}", stderr(&task));
    for part in [
        "rows for training: synth-vc/train",
        "256 of them looked at",
        "rows for evaluation: synth-vc/test",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let none = othink(folder.path(), &["data", "no-such.jsonl"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("no-such.jsonl"), "{}", stderr(&none));
}

#[test]
fn a_conversation_is_converted_by_the_command_that_its_error_names() {
    let folder = pictures(1);
    let root = folder.path();
    let llava = json!([{"image": "0.png", "conversations": [
        {"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "7"},
        {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]}]);
    std::fs::write(root.join("llava.json"), llava.to_string()).unwrap();
    let refused = othink(root, &["data", "llava.json"]);
    let message = stderr(&refused);
    let command = message.split('`').find(|part| part.starts_with("othink data")).unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let output = othink(root, &words);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("1 row, 1 of them from conversations\n1 go on after"),
        "{}",
        stdout(&output)
    );
    let row = &lines(&root.join("rows.jsonl"))[0];
    assert_eq!(row, &json!({"image": "0.png", "problem": "How many?", "solution": "7"}));
    assert!(looked_at(root, &[]).status.success());
    let again = othink(root, &words);
    assert_eq!(again.status.code(), Some(2), "nothing is replaced");
}

#[test]
fn init_writes_a_run_file_that_runs_and_replaces_none() {
    let folder = pictures(10);
    let root = folder.path();
    write_rows(root, "my.jsonl", (0..10).map(row));
    let output = othink(root, &["init", "my.jsonl"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with("my.toml: 9 rows to train on, 1 held out"),
        "{}",
        stdout(&output)
    );
    let text = std::fs::read_to_string(root.join("my.toml")).unwrap();
    let comments = text.lines().filter(|line| line.contains('#')).count();
    assert!(comments > 10 && text.contains("\ntrain = \"my.jsonl\""), "{text}");
    let short = ["--set", "train.updates=1", "--set", "grpo.prompts_per_update=1"];
    let train = ["train", "--config", "my.toml", "--out", "run"];
    let output = othink(root, &[&train[..], &short].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(lines(&root.join("run/evaluations.jsonl")).len(), 2, "before and after");
    let again = othink(root, &["init", "my.jsonl"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("my.toml: found a file, expected none"), "{}", stderr(&again));
    assert_eq!(std::fs::read_to_string(root.join("my.toml")).unwrap(), text);
}

#[test]
fn init_reaches_data_from_the_run_files_folder_and_writes_what_is_special_about_it() {
    let folder = pictures(4);
    let root = folder.path();
    let named = |idx: usize, gold: &str| json!({"image": format!("{idx}.png"), "asked": "?", "solution": gold});
    write_rows(
        root,
        "my.jsonl",
        [named(0, "1"), named(1, "2"), named(2, "\\frac{1}{"), named(3, "4")],
    );
    std::fs::create_dir(root.join("configs")).unwrap();
    let init = ["init", "my.jsonl", "--out", "configs/own.toml"];
    let refused = othink(root, &init);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("field `problem` or"), "{}", stderr(&refused));
    let output = othink(root, &[&init[..], &["--field", "problem=asked"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(root.join("configs/own.toml")).unwrap();
    for line in [
        "allow_unparsable = true      # solutions that cannot be read, so that no answer is right: 1,\n",
        "[data.fields]\nproblem = \"asked\"",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let elsewhere = pictures(0);
    let config = root.join("configs/own.toml").display().to_string();
    let output = othink(elsewhere.path(), &["data", "--config", &config, "--prompts", "0"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    for (words, message) in [
        (vec!["init", "none.jsonl"], "none.jsonl: cannot be read"),
        (
            vec!["init", "synth-vc"],
            "hint: a task has run files: othink train --config grpo-d-synth-vc.toml",
        ),
        (vec!["init", "my.jsonl", "--field", "problme=asked"], "expected one of problem, solution"),
    ] {
        let refused = othink(root, &words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}");
        assert!(stderr(&refused).contains(message), "{}", stderr(&refused));
    }
}
