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
        .env_remove("HF_ASSETS_CACHE")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap()
}

#[test]
fn every_area_is_looked_at_and_a_cpu_alone_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(doctor(folder.path(), &[]).status.code(), Some(0));
    let output = doctor(folder.path(), &["--device", "cpu", "--json"]);
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
    assert!(text.contains("ok      arithmetic f32 on cpu: 21 operations within "), "{text}");
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

#[test]
fn ceilings_are_measured_where_asked_for_and_kept_in_place_of_whatever_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor(folder.path(), &["--device", "cpu", "--json"]);
    assert!(serde_json::from_slice::<Value>(&output.stdout).unwrap().get("ceilings").is_none());
    let kept = folder.path().join("assets/othink/ceilings");
    assert!(!kept.exists(), "they are measured where asked for alone");

    let output = doctor(folder.path(), &["--device", "cpu", "--ceilings", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = &report["ceilings"];
    assert_eq!((&measured["dtype"], &measured["driver"]), (&"f32".into(), &"none".into()));
    for figure in ["product_tflops", "copy_tb_per_s"] {
        let speed = measured["ceilings"][figure].as_f64().unwrap();
        assert!(speed > 1e-4 && speed < 1e3, "{figure}: {speed}");
    }
    let file = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    let contents: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(&contents, measured);

    std::fs::write(&file, "spoilt").unwrap();
    let output = doctor(folder.path(), &["--device", "cpu", "--ceilings"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = format!("TB/s, kept in {}", file.display());
    assert!(text.contains("ok      ceilings   f32 on cpu: products at ") && text.contains(&line));
    assert!(serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).is_ok());
}
