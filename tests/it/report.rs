//! `othink report` on folders as runs leave them: finished, killed, damaged, missing.
//! Not here: the contents of the page and of the charts (`report`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::recorded::{self, SMALL, Size};

/// The folder of a run of 9 updates that has made `n_updates` of them.
fn run(folder: &Path, name: &str, seed: u64, n_updates: usize) -> PathBuf {
    let (path, _) = recorded::run(&folder.join(name), seed, Size { updates: 9, ..SMALL });
    let lines = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let lines: Vec<&str> = lines.split_inclusive('\n').take(n_updates).collect();
    std::fs::write(path.join("metrics.jsonl"), lines.concat()).unwrap();
    path
}

fn report(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.arg("report").args(words).current_dir(folder).output().unwrap()
}

/// Runs a command that must be refused; returns its message.
fn refused(folder: &Path, words: &[&str]) -> String {
    let output = report(folder, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn append(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, old + text).unwrap();
}

#[test]
fn page_and_plots_are_written_of_runs_that_are_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let killed = run(folder.path(), "quick-1", 1, 3);
    append(&killed.join("metrics.jsonl"), "{\"update\": 4, \"lo");
    run(folder.path(), "quick-2", 2, 9);
    let words = ["quick-1", "quick-2", "--out", "page.html", "--plots", "new/plots", "--json"];
    let output = report(folder.path(), &words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["page"], "page.html");
    assert_eq!(outcome["runs"][0], json!({"label": "quick-1", "path": "quick-1", "updates": 3}));
    for plot in outcome["plots"].as_array().unwrap() {
        let bytes = std::fs::read(folder.path().join(plot.as_str().unwrap())).unwrap();
        assert!(bytes.starts_with(b"<svg ") || bytes.starts_with(b"\x89PNG"), "{plot}");
    }
    assert!(folder.path().join("new/plots/kl.png").is_file());
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("<title>Training report: quick-* (2 seeds)</title>"));
    let updates = &recorded::data_of(&page, "data-summary")["cards"][0]["figures"][1]["value"];
    assert_eq!(updates, "3 of 9 (unfinished); 9");
}

#[test]
fn paths_of_what_was_written_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "quick", 1, 2);
    let output = report(folder.path(), &["quick"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "report.html\n");
}

#[test]
fn missing_or_damaged_runs_and_wrong_flags_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = run(folder.path(), "damaged", 1, 2);
    append(&damaged.join("metrics.jsonl"), "{\"update\": 3}\n");
    let message = refused(folder.path(), &["damaged"]);
    assert!(message.contains("metrics.jsonl:3: missing field"), "{message}");

    run(folder.path(), "quick", 1, 1);
    for (words, expected) in [
        (vec!["nowhere"], "error: nowhere: found no config.toml, expected the folder of a run"),
        (vec!["quick", "./quick"], "error: ./quick: the same run is named twice"),
        (
            vec!["quick", "--smooth", "1"],
            "error: --smooth is 1, expected a number from 0 to below 1",
        ),
        (vec!["quick", "--out", "quick"], "error: --out quick: found a folder, expected a file"),
        (vec!["quick", "--plots", "quick/config.toml"], "expected a folder"),
        (vec!["quick", "--answers", "no.jsonl"], "error: --answers no.jsonl: no such file"),
        (
            vec!["quick", "--answers", "quick/metrics.jsonl"],
            "metrics.jsonl: line 1: missing field `id`",
        ),
    ] {
        let message = refused(folder.path(), &words);
        assert!(message.contains(expected) && message.contains("hint: "), "{words:?}: {message}");
    }
    std::fs::remove_file(folder.path().join("quick/metrics.jsonl")).unwrap();
    assert!(refused(folder.path(), &["quick"]).contains("quick: found no metrics.jsonl"));
    std::fs::write(folder.path().join("quick/metrics.jsonl"), "").unwrap();
    append(&folder.path().join("quick/config.toml"), "[kl]\nbeta = -1.0\n");
    assert!(refused(folder.path(), &["quick"]).contains("config.toml:7: kl.beta is -1"));
    assert!(!folder.path().join("report.html").exists());
}
