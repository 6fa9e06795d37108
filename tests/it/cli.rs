//! The program as a user meets it: help, wrong input, exit codes.
//! `SNAPSHOTS=overwrite cargo test --test it` rewrites the expected texts; read the difference.

use snapbox::cmd::{Command, OutputAssert, cargo_bin};
use snapbox::str;

/// Runs `othink` in an empty folder of its own.
fn othink(args: &[&str]) -> OutputAssert {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), args)
}

fn run_in(folder: &std::path::Path, args: &[&str]) -> OutputAssert {
    Command::new(cargo_bin!("othink"))
        .args(args)
        .current_dir(folder)
        .env("COLUMNS", "100")
        .env_remove("OTHINK_LOG")
        .assert()
}

#[test]
fn help_lists_the_commands_and_ends_in_examples() {
    othink(&["--help"]).code(0).stderr_eq("").stdout_eq(str![[]]);
}

#[test]
fn train_help_mirrors_the_run_file() {
    othink(&["train", "--help"]).code(0).stderr_eq("").stdout_eq(str![[]]);
}

#[test]
fn eval_help_says_what_is_measured() {
    othink(&["eval", "--help"]).code(0).stderr_eq("").stdout_eq(str![[]]);
}

#[test]
fn infer_help_says_how_to_ask() {
    othink(&["infer", "--help"]).code(0).stderr_eq("").stdout_eq(str![[]]);
}

#[test]
fn unknown_command_is_code_2_with_the_nearest_one() {
    othink(&["trian"]).code(2).stdout_eq("").stderr_eq(str![[]]);
}

#[test]
fn missing_run_file_is_code_2_and_lists_what_was_tried() {
    othink(&["train", "--config", "quickstrat.toml"]).code(2).stdout_eq("").stderr_eq(str![[]]);
}

#[test]
fn unknown_key_is_code_2_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), "[grpo]\ngroup_sise = 4\n").unwrap();
    run_in(folder.path(), &["train", "--config", "run.toml"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing may be written");
}

#[test]
fn run_file_that_is_not_toml_is_code_2_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), "[data]\ntask = synth-vc\n").unwrap();
    run_in(folder.path(), &["train", "--config", "run.toml"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
}

#[test]
fn wrong_override_is_code_2_and_named_as_it_was_given() {
    othink(&["train", "--config", "quickstart.toml", "--set", "grpo.group_size=many"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
    othink(&["train", "--config", "quickstart.toml", "--set", "grpo.group_size=1"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
}

#[test]
fn folder_in_use_is_code_2_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("runs/quickstart/notes.txt");
    std::fs::create_dir_all(notes.parent().unwrap()).unwrap();
    std::fs::write(&notes, "mine").unwrap();
    run_in(folder.path(), &["train", "--config", "quickstart.toml"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
    assert_eq!(std::fs::read_to_string(notes).unwrap(), "mine");
}

#[test]
fn wrong_device_is_code_2_with_the_choices() {
    othink(&["eval", "--task", "synth-vc", "--device", "gpu"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
}

#[test]
fn question_both_as_prompt_and_as_chat_is_code_2() {
    othink(&["infer", "--model", "tiny", "--prompt", "Hi", "--messages", "chat.json"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
}

#[test]
fn wrong_log_filter_is_code_2() {
    Command::new(cargo_bin!("othink"))
        .args(["eval", "--task", "synth-vc"])
        .env("OTHINK_LOG", "othink=loud")
        .assert()
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[]]);
}
