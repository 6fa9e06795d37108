//! Commands that write to links, pipes and devices.
//! Not here: the rules for one file (`out_file`), an evaluation that is continued (`experiments`).

use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// Every command that writes a file, but for the file's name.
const COMMANDS: [&[&str]; 5] = [
    &["eval", "--task", "synth-vc", "--limit", "2", "--max-new-tokens", "4", "--out"],
    &["infer", "--model", "tiny", "--prompt", "Hi", "--max-new-tokens", "2", "--dump"],
    &["grade", "--input", "said.jsonl", "--out"],
    &["report", "run", "--out"],
    &[
        "cross-eval",
        "--train",
        "synth-vc",
        "--test",
        "synth-vc",
        "--methods",
        "base",
        "--limit=2",
        "--plot",
    ],
];

fn othink(folder: &Path, words: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    let output = command.args(words).current_dir(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    output.stdout
}

/// A folder with what the commands read: completions, and a run of one update.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let said = "{\"completion\": \"<answer> 7 </answer>\", \"solution\": \"7\"}\n";
    std::fs::write(folder.path().join("said.jsonl"), said).unwrap();
    let mut words = vec!["train", "--config", "quickstart.toml", "--out", "run"];
    for change in ["train.updates=1", "grpo.prompts_per_update=1", "eval.limit=1"] {
        words.extend(["--set", change]);
    }
    othink(folder.path(), &words);
    folder
}

#[test]
fn links_pipes_and_devices_outlive_every_command_that_writes_to_them() {
    let folder = prepared();
    let root = folder.path();
    std::fs::create_dir(root.join("far")).unwrap();
    for words in COMMANDS {
        let name = words[0];
        // A plot's format is chosen by the extension.
        let [file, link, pipe] = ["file", "link", "pipe"].map(|kind| format!("{name}-{kind}.svg"));
        symlink(Path::new("far").join(&file), root.join(&link)).unwrap();
        othink(root, &[words, &[link.as_str()]].concat());
        assert!(root.join(&link).is_symlink(), "{name} replaced the link");
        let written = std::fs::read(root.join("far").join(&file)).unwrap();
        assert!(!written.is_empty(), "{name}");

        let path = root.join(&pipe);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let reader = std::thread::spawn({
            let path = path.clone();
            move || std::fs::read(path).unwrap()
        });
        othink(root, &[words, &[pipe.as_str()]].concat());
        assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_fifo(), "{name}");
        assert!(reader.join().unwrap() == written, "{name} wrote something else into the pipe");
    }
    let far: Vec<_> = std::fs::read_dir(root.join("far")).unwrap().collect();
    assert_eq!(far.len(), COMMANDS.len(), "nothing is left beside the files: {far:?}");
}

#[test]
fn an_interrupted_evaluation_is_continued_through_a_link_and_kept_beside_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("far")).unwrap();
    symlink("far/answers.jsonl", root.join("link.jsonl")).unwrap();
    let words = ["eval", "--task", "synth-vc", "--limit", "3", "--out"];
    othink(root, &[&words[..], &["whole.jsonl"]].concat());
    let whole = std::fs::read_to_string(root.join("whole.jsonl")).unwrap();
    let partial = root.join("far/answers.jsonl.partial");
    std::fs::write(&partial, "{}\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args([&words[..], &["link.jsonl"]].concat()).current_dir(root);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "it looks beside the file");
    std::fs::remove_file(&partial).unwrap();
    othink(root, &[&words[..], &["link.jsonl"]].concat());
    assert_eq!(std::fs::read_to_string(root.join("far/answers.jsonl")).unwrap(), whole);
}

#[test]
fn answers_that_are_there_are_replaced_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    std::fs::write(&path, "").unwrap();
    let eval = |task: &str, more: &[&str]| {
        let words = ["eval", "--task", task, "--limit", "2", "--out", "answers.jsonl"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        command.args(words).args(more).current_dir(folder.path()).output().unwrap()
    };
    assert!(eval("synth-vc", &[]).status.success(), "an empty file holds nothing");
    let first = std::fs::read(&path).unwrap();
    let refused = eval("synth-gr", &[]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.starts_with("error: --out answers.jsonl: the file is there"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), first);
    // One that was interrupted is continued over them, here by another evaluation than began it.
    let partial = folder.path().join("answers.jsonl.partial");
    std::fs::write(&partial, "{}\n").unwrap();
    let message = String::from_utf8(eval("synth-vc", &[]).stderr).unwrap();
    assert!(message.contains("answers.jsonl.partial: holds the answers of"), "{message}");
    std::fs::remove_file(partial).unwrap();
    assert!(eval("synth-gr", &["--overwrite"]).status.success());
    assert_ne!(std::fs::read(&path).unwrap(), first);
}

/// The answers come first, the table after them, as through a pipe.
#[cfg(target_os = "linux")]
#[test]
fn standard_output_takes_the_answers_and_the_table_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("printed");
    let printed = std::fs::File::create(&path).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args([
        "eval",
        "--task",
        "synth-vc",
        "--limit",
        "2",
        "--json",
        "--out",
        "/proc/self/fd/1",
    ]);
    assert!(command.current_dir(folder.path()).stdout(printed).status().unwrap().success());
    let printed = std::fs::read_to_string(path).unwrap();
    let fields: Vec<_> = printed.lines().map(|line| line.starts_with("{\"id\"")).collect();
    assert_eq!(fields, [true, true, false], "{printed}");
}
