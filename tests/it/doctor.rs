//! `othink doctor`: what it looks at, and its exit code where what was asked for does not work.
//! Not here: single findings (`othink::doctor`).

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// With a cache in the folder and no network.
fn doctor(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_othink"))
        .arg("doctor")
        .args(words)
        .env("HF_HOME", folder)
        .env_remove("HF_HUB_CACHE")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap()
}

#[test]
fn every_area_is_looked_at_and_a_cpu_alone_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor(folder.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["works"], true);
    let findings = report["findings"].as_array().unwrap();
    let names: Vec<&str> = findings.iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["program", "processor", "memory", "gpu"]);
    assert!(names.contains(&"arithmetic"));
    assert_eq!(names[names.len() - 2..], ["cache", "hub"]);
    let cache = findings[names.len() - 2]["found"].as_str().unwrap();
    assert!(cache.starts_with(&folder.path().display().to_string()), "{cache}");

    let output = doctor(folder.path(), &["--device", "cpu"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| !line.contains("hint: ")).count(), names.len(), "{text}");
    assert!(text.contains("ok      arithmetic f32 on cpu: 19 operations within "), "{text}");
}

#[test]
fn what_was_asked_for_and_does_not_work_is_code_1_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let mut asked = vec![(&["--hub"][..], "hub        offline, as HF_HUB_OFFLINE says")];
    if !cfg!(feature = "cuda") {
        asked.push((&["--device", "cuda"], "gpu        device \"cuda\": this program was built"));
    }
    asked.push((&["--device", "tpu"], "gpu        device \"tpu\": no such name"));
    for (words, found) in asked {
        let output = doctor(folder.path(), words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let failed = text.split_once("failed  ").map(|(_, rest)| rest).unwrap_or_default();
        assert!(failed.starts_with(found) && failed.contains("hint: "), "{text}");
    }
}
