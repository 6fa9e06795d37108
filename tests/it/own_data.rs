//! Data of one's own in a run: each mistake that it would not stop at is told, rows are held out, paths start where they should.
//! Not here: what each reader refuses (unit tests of `data`), `othink data` and `othink init` (`own_data_commands`), mistakes
//! in the run file (`cli`, `wrong_input`).

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::runs::lines;

/// A folder with `n` pictures, `0.png` and so on.
pub(crate) fn pictures(n: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for idx in 0..n {
        std::fs::copy(
            crate::golden::folder().join("images/square.png"),
            folder.path().join(format!("{idx}.png")),
        )
        .unwrap();
    }
    folder
}

pub(crate) fn write_rows(folder: &Path, name: &str, rows: impl IntoIterator<Item = Value>) {
    let rows: Vec<String> = rows.into_iter().map(|row| row.to_string()).collect();
    std::fs::write(folder.join(name), rows.join("\n")).unwrap();
}

pub(crate) fn row(idx: usize) -> Value {
    json!({"image": format!("{idx}.png"), "problem": format!("How many at {idx}?"), "solution": idx})
}

pub(crate) fn with(mut row: Value, more: Value) -> Value {
    let (Some(row_fields), Value::Object(more)) = (row.as_object_mut(), more) else {
        panic!("no object")
    };
    row_fields.extend(more);
    row
}

pub(crate) fn othink(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(words).current_dir(folder).env_remove("OTHINK_LOG").output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `othink data rows.jsonl` in a folder, with more words.
pub(crate) fn looked_at(folder: &Path, more: &[&str]) -> Output {
    othink(folder, &[&["data", "rows.jsonl", "--set", "data.template=short"], more].concat())
}

/// A run file of few and short updates on the micro checkpoint.
fn run_file(folder: &Path, data: &str, more: &str) {
    let model = crate::golden::folder().join("policy").display().to_string();
    let text = format!(
        "[model]\npath = {model:?}\n[data]\n{data}\ntemplate = \"plain\"\n\
         [grpo]\ngroup_size = 2\nprompts_per_update = 1\n[rollout]\nmax_new_tokens = 2\n\
         [train]\nupdates = 2\ncheckpoint_every = 1\n{more}"
    );
    std::fs::write(folder.join("run.toml"), text).unwrap();
}

const TRAIN: [&str; 5] = ["train", "--config", "run.toml", "--out", "run"];

#[test]
fn every_silent_mistake_is_told_once_with_its_first_row() {
    let folder = pictures(8);
    let root = folder.path();
    std::fs::create_dir(root.join("images")).unwrap();
    std::fs::copy(root.join("7.png"), root.join("images/7.png")).unwrap();
    let rows = [
        row(0),
        with(row(1), json!({"topic": "a", "level": 3})),
        with(row(2), json!({"topic": "b", "answer": 9, "img": "2.png"})),
        with(row(3), json!({"problem": "<image>How many?"})),
        with(row(4), json!({"image": "Geo170K/images/7.png"})),
        with(row(5), json!({"image": "/elsewhere/images/7.png"})),
    ];
    write_rows(root, "rows.jsonl", rows);
    run_file(root, "train = \"rows.jsonl\"", "");
    let output = othink(root, &TRAIN);
    let told = stderr(&output);
    assert!(output.status.success(), "{told}");
    for line in [
        "rows.jsonl: fields `img`, `level`, `topic` in 2 rows, the first rows.jsonl:2: nothing reads them",
        "rows.jsonl: fields for the same thing in the row rows.jsonl:3: `solution` is read, `answer` is not",
        "rows.jsonl: questions with `<image>` in the row rows.jsonl:4: ",
        "rows.jsonl: pictures of 2 rows were found only without their first folders, the first rows.jsonl:5: resolved \
         Geo170K/images/7.png as images/7.png",
    ] {
        assert_eq!(told.matches(line).count(), 1, "{line}: {told}");
    }
    assert!(!told.contains("no row has a picture"), "{told}");
}

#[test]
fn rows_without_any_picture_are_told() {
    let folder = pictures(0);
    write_rows(folder.path(), "rows.jsonl", (0..3).map(|n| json!({"prompt": "?", "answer": n})));
    let output = looked_at(folder.path(), &[]);
    let told = stderr(&output);
    assert!(output.status.success(), "`prompt` and `answer` are read: {told}");
    assert_eq!(told.matches("rows.jsonl: no row has a picture").count(), 1, "{told}");
}

#[test]
fn what_would_lose_a_rows_meaning_is_refused() {
    let folder = pictures(1);
    let row = |image: &str| format!("{{\"problem\":\"?\",\"solution\":1,\"image\":{image}}}");
    for (rows, message) in [
        (
            "{\"problem\":\"a?\",\"problem\":\"b?\",\"solution\":1}".to_owned(),
            "line 1: field `problem`: found it more than once",
        ),
        (row("\"https://x.org/a.png\""), "line 1: field `image`: found a URL"),
        (row("\"data:image/png;base64,AA\""), "line 1: field `image`: found a data URI"),
        (
            row("\"images\\\\0.png\""),
            "line 1: field `image`: found no file images\\0.png, a path with the separators of Windows",
        ),
        (row("null,\"img\":\"0.png\""), "line 1: field `img`: found the picture file 0.png"),
        (row("null,\"image_file\":\"a\""), "line 1: field `image_file`: found text"),
        (
            "{\"conversations\":[{\"from\":\"human\",\"value\":\"?\"}]}".to_owned(),
            "field `conversations`: found a conversation",
        ),
        (
            "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}".to_owned(),
            "field `messages`: found a conversation",
        ),
    ] {
        std::fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        run_file(folder.path(), "train = \"rows.jsonl\"", "");
        let output = othink(folder.path(), &TRAIN);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}: {told}");
        assert!(
            told.contains(&format!("rows.jsonl: {}", message.trim_start_matches("rows.jsonl: ")))
                || told.contains(message),
            "{message}: {told}"
        );
        assert!(told.contains("\nhint: "), "{told}");
    }
}

/// The plan makes some rows into prompts, of which the damaged one is none.
#[test]
fn a_picture_whose_header_is_damaged_stops_a_run_before_it_begins() {
    let folder = pictures(1);
    std::fs::write(folder.path().join("bad.png"), "no picture").unwrap();
    let mut rows: Vec<Value> =
        (0..59).map(|idx| with(row(idx), json!({"image": "0.png"}))).collect();
    rows.push(with(row(59), json!({"image": "bad.png"})));
    write_rows(folder.path(), "rows.jsonl", rows);
    run_file(folder.path(), "train = \"rows.jsonl\"\nshuffle = false", "");
    let output = othink(folder.path(), &TRAIN);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("sample rows.jsonl:60: bad.png: "), "{}", stderr(&output));
    assert!(!folder.path().join("run").exists(), "nothing is written");
    let skipping = [&TRAIN[..], &["--set", "data.on_bad_row=skip"]].concat();
    assert!(othink(folder.path(), &skipping).status.success(), "the row is left out when it comes");
}

#[test]
fn check_data_makes_every_row_into_a_prompt_and_names_each_that_is_none() {
    let folder = pictures(6);
    let root = folder.path();
    // A whole header and no pixels.
    let whole = std::fs::read(root.join("1.png")).unwrap();
    std::fs::write(root.join("1.png"), &whole[..whole.len() / 2]).unwrap();
    let long = with(row(3), json!({"problem": "word ".repeat(3000)}));
    let rows = [row(0), row(1), with(row(2), json!({"solution": ""})), long, row(9)];
    write_rows(root, "rows.jsonl", rows);
    run_file(root, "train = \"rows.jsonl\"", "");
    let check = ["train", "--config", "run.toml", "--check-data"];
    let output = othink(root, &check);
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(2), "{table}{}", stderr(&output));
    for part in [
        "rows.jsonl: line 3: field `solution`: found empty text",
        "sample rows.jsonl:2: ",
        "rows.jsonl: line 5: field `image`: found no file 9.png",
        "rows.jsonl:4: ",
        " do NOT fit into ",
        "a run on this would stop",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!root.join("run").exists() && !root.join("runs").exists());
    write_rows(root, "rows.jsonl", [row(0), row(4), row(5)]);
    let output = othink(root, &[&check[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["would_stop"], false);
    assert_eq!((&found["data"][0]["rows"], &found["data"][0]["usable"]), (&json!(3), &json!(3)));
}

/// The rows that a run was trained on.
fn trained_on(run: &Path) -> std::collections::BTreeSet<String> {
    let records = lines(&run.join("completions.jsonl"));
    records
        .iter()
        .map(|record| record["prompt_id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn rows_are_held_out_and_a_resumed_run_holds_out_the_same() {
    let folder = pictures(10);
    let root = folder.path();
    write_rows(root, "rows.jsonl", (0..10).map(row));
    let measuring = "keep = 20\neval_every = 1\n[eval]\nmax_new_tokens = 2\n";
    run_file(root, "train = \"rows.jsonl\"\nhold_out = 0.3", measuring);
    let ten = ["--set", "train.updates=10"];
    let output = othink(root, &[&TRAIN[..], &ten].concat());
    let told = stderr(&output);
    assert!(output.status.success(), "{told}");
    for phrase in [
        "data      rows.jsonl, 7 rows, 3 more held out\n",
        "measured  rows.jsonl, rows held out, 3 questions: ",
    ] {
        assert_eq!(told.matches(phrase).count(), 1, "{told}");
    }
    assert_eq!(trained_on(&root.join("run")).len(), 7, "ten updates are more than an epoch");
    let evaluations = lines(&root.join("run/evaluations.jsonl"));
    assert_eq!(
        (&evaluations[0]["summary"]["n"], &evaluations[0]["summary"]["task"]),
        (&json!(3), &json!("rows.jsonl, rows held out"))
    );
    // Stopped in the middle and resumed, it is the same run.
    let halves = |more: &[&str]| {
        let words =
            ["train", "--config", "run.toml", "--out", "halves", "--set", "train.updates=10"];
        othink(root, &[&words[..], more].concat())
    };
    assert!(halves(&[]).status.success());
    for step in 6..=10 {
        std::fs::remove_dir_all(root.join(format!("halves/checkpoints/step-{step:06}"))).ok();
    }
    let output = halves(&["--resume"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(crate::runs::difference(&[], &root.join("run"), &root.join("halves")), None);
    let refused = halves(&["--resume", "--set", "data.hold_out=0.2"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("data.hold_out"), "{}", stderr(&refused));
}

#[test]
fn a_run_on_ones_own_rows_says_that_it_is_measured_on_a_tasks() {
    let folder = pictures(2);
    let root = folder.path();
    write_rows(root, "rows.jsonl", (0..2).map(row));
    let measuring = "[eval]\nlimit = 2\nmax_new_tokens = 2\nafter_training = true\n";
    run_file(root, "task = \"synth-vc\"\ntrain = \"rows.jsonl\"", measuring);
    let told = stderr(&othink(root, &TRAIN));
    for phrase in [
        "data      rows.jsonl, 2 rows\n",
        "measured  synth-vc's own test rows, 2 of 500 questions: after",
    ] {
        assert!(told.contains(phrase), "{told}");
    }
    assert!(
        told.contains("evaluation after 2 updates: synth-vc's own test rows accuracy"),
        "{told}"
    );
    assert_eq!(
        lines(&root.join("run/evaluations.jsonl"))[0]["summary"]["task"],
        "synth-vc's own test rows"
    );
}

#[test]
fn fields_are_called_what_the_run_file_says() {
    let folder = pictures(2);
    let root = folder.path();
    let named =
        |idx: usize| json!({"shot": format!("{idx}.png"), "question_text": "?", "gold": idx});
    write_rows(root, "rows.jsonl", (0..2).map(named));
    let fields =
        "[data.fields]\nimage = \"shot\"\nproblem = \"question_text\"\nsolution = \"gold\"\n";
    run_file(root, "train = \"rows.jsonl\"", fields);
    let output = othink(root, &TRAIN);
    assert!(output.status.success(), "{}", stderr(&output));
    let more = ["--set", "data.fields.solution=gold", "--set", "data.fields.image=shot"];
    let refused = looked_at(root, &more);
    assert!(
        stderr(&refused).contains("field `problem` or `question` or `prompt`"),
        "{}",
        stderr(&refused)
    );
    let more = [&more[..], &["--set", "data.fields.problem=question_text"]].concat();
    assert!(looked_at(root, &more).status.success());
}

#[test]
fn paths_of_a_run_file_start_at_its_folder_and_those_of_flags_at_the_working_folder() {
    let folder = pictures(0);
    let root = folder.path();
    let own = pictures(2);
    let name = own.path().join("rows.jsonl");
    write_rows(own.path(), "rows.jsonl", (0..2).map(row));
    run_file(own.path(), "train = \"rows.jsonl\"", "");
    let config = own.path().join("run.toml").display().to_string();
    let output = othink(root, &["train", "--config", &config, "--out", "run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // What the run wrote down works from anywhere.
    let written = std::fs::read_to_string(root.join("run/config.toml")).unwrap();
    assert!(written.contains(&format!("train = {name:?}")), "{written}");
    let again = root.join("run/config.toml").display().to_string();
    let elsewhere = pictures(0);
    let output = othink(elsewhere.path(), &["train", "--config", &again, "--out", "again"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let run = root.join("run").display().to_string();
    let output = othink(elsewhere.path(), &["replay", &run, "--update", "1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // A flag's path starts here, and the run file's is not meant to.
    write_rows(root, "rows.jsonl", [json!({"problem": "?", "solution": 1})]);
    let flag = ["train", "--config", &config, "--out", "flag", "--set", "data.train=rows.jsonl"];
    assert!(othink(root, &flag).status.success());
    std::fs::remove_file(&name).unwrap();
    let refused = othink(root, &["train", "--config", &config, "--out", "refused"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("data.train is \"rows.jsonl\", which is in the working folder"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_run_is_resumed_where_its_data_has_moved_to() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    std::fs::rename(pictures(2).keep(), &old).unwrap();
    write_rows(&old, "rows.jsonl", (0..2).map(row));
    run_file(&old, "train = \"rows.jsonl\"", "");
    assert!(othink(&old, &TRAIN).status.success());
    std::fs::rename(&old, &new).unwrap();
    let output = othink(&new, &[&TRAIN[..], &["--resume"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    write_rows(&new, "rows.jsonl", [row(1), row(0)]);
    let refused = othink(&new, &[&TRAIN[..], &["--resume"]].concat());
    assert!(stderr(&refused).contains("rows"), "{}", stderr(&refused));
    assert_eq!(refused.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_reward_command_is_given_the_rows_columns_and_pictures() {
    let folder = pictures(2);
    let root = folder.path();
    write_rows(root, "rows.jsonl", (0..2).map(|idx| with(row(idx), json!({"level": 7}))));
    let script = "while read -r l; do echo \"$l\" >> seen.jsonl; i=${l#*\\\"id\\\":}; echo \"{\\\"id\\\":${i%%[,\\}]*},\\\"score\\\":1}\"; done";
    std::fs::write(root.join("reward.sh"), script).unwrap();
    let reward = "[reward.command]\nprogram = \"sh\"\nargs = [\"reward.sh\"]\n";
    run_file(root, "train = \"rows.jsonl\"", reward);
    let output = othink(root, &TRAIN);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("nothing reads"), "{}", stderr(&output));
    for seen in lines(&root.join("seen.jsonl")) {
        assert_eq!(seen["columns"], json!({"level": 7}));
        let picture = seen["images"][0].as_str().unwrap();
        assert!(root.join(picture).is_file(), "{picture}");
    }
    // What the command is given belongs to the run.
    write_rows(root, "rows.jsonl", (0..2).map(|idx| with(row(idx), json!({"level": 8}))));
    let refused = othink(root, &[&TRAIN[..], &["--resume"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("rows"), "{}", stderr(&refused));
}
