//! The plan of `train --dry-run` against what runs really hold.
//! Not here: the terms of the plan (unit tests of `train::plan`).

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor};
use othink::model::config::ModelConfig;
use othink::model::files::{BuiltinFile, ModelFiles};
use othink::model::parameters::ParameterShape;
use othink::model::source::TINY;
use serde_json::Value;

fn othink(folder: &Path, words: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    // Otherwise the plan would look into the developer's own hub cache.
    command.args(words).current_dir(folder).env("HF_HOME", "no-such-cache");
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    output.stdout
}

/// Two updates whose completions are all as long as the plan assumes.
const RUN: [&str; 12] = [
    "--set",
    "train.updates=2",
    "--set",
    "rollout.max_new_tokens=48",
    "--set",
    "rollout.min_new_tokens=48",
    "--set",
    "train.checkpoint_every=0",
    "--set",
    "eval.before_training=false",
    "--set",
    "eval.after_training=false",
];

/// Peak bytes of the plan, and of the run.
fn planned_and_measured(folder: &Path, words: &[&str]) -> (f64, f64) {
    let words = [&["train"][..], words, &RUN].concat();
    let plan = othink(folder, &[&words[..], &["--dry-run", "--json"]].concat());
    let plan: Value = serde_json::from_slice(&plan).unwrap();
    othink(folder, &[&words[..], &["--out", "run", "--quiet"]].concat());
    let metrics = std::fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    (plan["memory"]["total"].as_f64().unwrap(), last["peak_bytes"].as_f64().unwrap())
}

/// A model of 20 million parameters with the tiny model's tokenizer.
fn wider_model(folder: &Path) {
    for file in TINY {
        std::fs::write(folder.join(file.name), file.bytes).unwrap();
    }
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    for (key, value) in
        [("hidden_size", 512), ("intermediate_size", 1536), ("num_hidden_layers", 6)]
    {
        config[key] = value.into();
    }
    config["num_attention_heads"] = 16.into();
    config["vision_config"]["hidden_size"] = 512.into();
    let text: &'static [u8] = config.to_string().into_bytes().leak();
    std::fs::write(folder.join("config.json"), text).unwrap();
    let file = vec![BuiltinFile { name: "config.json", bytes: text }].leak();
    let shapes = ModelConfig::load(&ModelFiles::Builtin(file)).unwrap().parameter_shapes();
    let weights: HashMap<String, Tensor> = shapes
        .into_iter()
        .map(|ParameterShape { name, dims, .. }| {
            let n = dims.iter().product::<usize>();
            let values: Vec<f32> =
                (0..n).map(|i| ((i * 7919 % 1000) as f32 - 500.0) * 4e-5).collect();
            (name, Tensor::from_vec(values, dims, &Device::Cpu).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
}

#[test]
fn planned_memory_is_within_a_fifth_of_the_peak() {
    let wider = tempfile::tempdir().unwrap();
    wider_model(wider.path());
    let model = format!("model.path={}", wider.path().display());
    let cases: [(&str, Vec<&str>); 5] = [
        ("quickstart.toml", vec![]),
        ("quickstart.toml", vec!["--set", "model.activation_checkpointing=true"]),
        ("quickstart.toml", vec!["--set", "train.tokens_per_micro_batch=1024"]),
        (
            "quickstart.toml",
            vec!["--set", "data.image_size=448", "--set", "grpo.prompts_per_update=2"],
        ),
        ("grpo-synth-vc.toml", vec!["--set", &model, "--set", "grpo.prompts_per_update=2"]),
    ];
    for (file, changes) in cases {
        let folder = tempfile::tempdir().unwrap();
        let words = [&["--config", file][..], &changes].concat();
        let (planned, measured) = planned_and_measured(folder.path(), &words);
        let ratio = planned / measured;
        assert!((0.8..1.2).contains(&ratio), "{words:?}: {planned:e} planned, {measured:e} held");
    }
}

#[test]
fn published_run_files_are_planned_without_weights_data_or_network() {
    let folder = tempfile::tempdir().unwrap();
    for (file, updates) in [("geoqa.toml", 1000), ("clevr.toml", 8750), ("sft-geoqa.toml", 63)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        command.args(["train", "--config", file, "--dry-run", "--json"]);
        let cache = folder.path().join("no-cache");
        let output = command
            .current_dir(folder.path())
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", cache)
            .output()
            .unwrap();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(plan["updates"], updates, "{file}");
        assert_eq!(plan["parameters"], 2_208_985_600_u64);
        assert_eq!(plan["workload"]["is_measured"], false);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

/// Each run file states its memory on the line that begins with `# Memory: `.
#[test]
fn published_run_files_say_what_their_plan_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let Some((_, line)) = text.split_once("# Memory: ") else { continue };
        let said: Vec<f64> = line
            .split(" GB")
            .filter_map(|part| part.rsplit(' ').next()?.parse().ok())
            .take(2)
            .collect();
        let planned = ["false", "true"].map(|checkpointing| {
            let recompute = format!("model.activation_checkpointing={checkpointing}");
            let path = file.to_str().unwrap();
            let words = ["train", "--config", path, "--dry-run", "--json", "--set", &recompute];
            let words = [&words[..], &["--set", "model.dtype=bf16"]].concat();
            let plan: Value =
                serde_json::from_slice(&othink(Path::new(env!("CARGO_MANIFEST_DIR")), &words))
                    .unwrap();
            plan["memory"]["total"].as_f64().unwrap() / 1e9
        });
        assert_eq!(said.len(), 2, "{}", file.display());
        n_files += 1;
        for (said, planned) in said.iter().zip(planned) {
            assert!((said - planned).abs() < 1.0, "{}: {said} said, {planned}", file.display());
        }
    }
    assert_eq!(n_files, 6);
}
