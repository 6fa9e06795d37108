//! Whole runs against torch and transformers, from the same completions: the figures of every update and the weights
//! of every checkpoint (`tests/golden/README.md`).
//! Not here: single losses, gradients and optimiser steps (`training_parity`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::golden::{TOLERANCE, assert_parity};

/// Figures that are computed in f32, with the absolute tolerance of each; all others must agree to 1e-9.
const ROUNDED: [(&str, f64); 4] =
    [("loss", 2e-6), ("kl", 1e-7), ("entropy", 0.0), ("grad_norm", 0.0)];

/// The relative tolerance of a distance: weights move by a thousandth of their size, and rounding is relative to the size.
const DISTANCE_TOLERANCE: f64 = 1e-3;

fn folder() -> PathBuf {
    std::path::absolute("tests/golden/trainer").unwrap()
}

fn recorded() -> Value {
    let text = std::fs::read_to_string(folder().join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn load(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// Trains as the recorded run did, into `out`.
fn train(recorded: &Value, out: &Path) {
    let config = folder().join(recorded["file"].as_str().unwrap());
    let updates = format!("train.updates={}", recorded["updates"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(["train", "--set", &updates, "--config"]).arg(config).arg("--out").arg(out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn assert_metrics(name: &str, recorded: &Value, out: &Path) {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = recorded["metrics"].as_array().unwrap();
    assert_eq!(lines.len(), expected.len(), "{name}");
    for (i, (line, expected)) in lines.iter().zip(expected).enumerate() {
        for (key, theirs) in expected.as_object().unwrap() {
            let rounded = ROUNDED.iter().find(|(rounded, _)| rounded == key);
            let (relative, absolute) =
                rounded.map_or((1e-9, 0.0), |(_, floor)| (TOLERANCE, *floor));
            let (ours, theirs) = (line[key].as_f64().unwrap(), theirs.as_f64().unwrap());
            assert!(
                (ours - theirs).abs() <= relative * theirs.abs() + absolute,
                "{name}, update {}: {key} is {ours}, torch's {theirs}",
                i + 1
            );
        }
    }
}

/// A parameter as it is recorded: its norm, its distance from where it began, its product with sin(1), sin(2), ...
fn summary(parameter: &Tensor, start: &Tensor) -> [f64; 3] {
    let flat = |x: &Tensor| -> Vec<f64> {
        x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let (now, before) = (flat(parameter), flat(start));
    let norm = |squares: f64| squares.sqrt();
    [
        norm(now.iter().map(|w| w * w).sum()),
        norm(now.iter().zip(&before).map(|(w, w0)| (w - w0).powi(2)).sum()),
        now.iter().enumerate().map(|(i, w)| w * (i as f64 + 1.0).sin()).sum(),
    ]
}

fn assert_weights(name: &str, recorded: &Value, out: &Path) {
    let start = load(&crate::golden::folder().join("policy/model.safetensors"));
    for (update, expected) in recorded["weights"].as_object().unwrap() {
        let update: u64 = update.parse().unwrap();
        let path = out.join(format!("checkpoints/step-{update:06}/model.safetensors"));
        let weights = load(&path);
        let expected = expected.as_object().unwrap();
        assert_eq!(weights.len(), expected.len(), "{name}");
        for (parameter, theirs) in expected {
            let [norm, distance, product] = summary(&weights[parameter], &start[parameter]);
            let theirs: Vec<f64> =
                theirs.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            let what = format!("{name}, {parameter} after {update}");
            let scale = TOLERANCE * theirs[0];
            assert!(
                (norm - theirs[0]).abs() <= scale,
                "{what}: norm {norm}, torch's {}",
                theirs[0]
            );
            assert!(
                (product - theirs[2]).abs() <= scale,
                "{what}: {product}, torch's {}",
                theirs[2]
            );
            assert!(
                (distance - theirs[1]).abs() <= DISTANCE_TOLERANCE * theirs[1],
                "{what}: moved by {distance}, torch's by {}",
                theirs[1]
            );
        }
    }
}

/// Trains every recorded run of a run file and compares all that it leaves.
fn assert_equals_torch(file: &str, n_runs: usize) {
    let golden = recorded();
    let whole = load(&folder().join("weights.safetensors"));
    let runs = golden["runs"].as_object().unwrap().iter();
    let runs: Vec<_> = runs.filter(|(_, run)| run["file"] == file).collect();
    assert_eq!(runs.len(), n_runs);
    for (name, run) in runs {
        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("run");
        train(run, &out);
        assert_metrics(name, run, &out);
        assert_weights(name, run, &out);
        let last =
            format!("checkpoints/step-{:06}/model.safetensors", run["updates"].as_u64().unwrap());
        let weights = load(&out.join(last));
        for (key, theirs) in whole.iter().filter(|(key, _)| key.starts_with(&format!("{name}/"))) {
            let (_, parameter) = key.split_once('/').unwrap();
            assert_parity(&weights[parameter], theirs, key);
        }
    }
}

#[test]
fn every_update_of_grpo_d_equals_torch() {
    assert_equals_torch("grpo-d.toml", 4);
}

#[test]
fn every_update_of_grpo_with_a_frozen_tower_equals_torch() {
    assert_equals_torch("grpo.toml", 1);
}

#[test]
fn every_update_of_supervised_training_equals_torch() {
    assert_equals_torch("sft.toml", 1);
}

#[test]
fn every_update_of_supervised_training_on_prompts_equals_torch() {
    assert_equals_torch("sft-prompt.toml", 1);
}
