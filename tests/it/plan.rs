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
use serde_json::{Value, json};

pub(crate) fn othink(folder: &Path, words: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    // Otherwise the plan would look into the developer's own hub cache.
    command.args(words).current_dir(folder).env("HF_HOME", "no-such-cache");
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    output.stdout
}

/// On the CPU, two updates whose completions are all as long as the plan assumes.
const RUN: [&str; 14] = [
    "--device",
    "cpu",
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
pub(crate) fn planned_and_measured(folder: &Path, words: &[&str]) -> (f64, f64) {
    let words = [&["train"][..], words, &RUN].concat();
    let plan = othink(folder, &[&words[..], &["--dry-run", "--json"]].concat());
    let plan: Value = serde_json::from_slice(&plan).unwrap();
    othink(folder, &[&words[..], &["--out", "run", "--quiet"]].concat());
    let metrics = std::fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    (plan["memory"]["total"].as_f64().unwrap(), last["peak_bytes"].as_f64().unwrap())
}

/// A model of 20 million parameters.
fn wider_model(folder: &Path) {
    write_model(folder, |config| {
        for (key, value) in
            [("hidden_size", 512), ("intermediate_size", 1536), ("num_hidden_layers", 6)]
        {
            config[key] = value.into();
        }
        config["num_attention_heads"] = 16.into();
        config["vision_config"]["hidden_size"] = 512.into();
    });
}

/// A model of another shape than the tiny one, with its tokenizer.
pub(crate) fn write_model(folder: &Path, change: impl FnOnce(&mut Value)) {
    for file in TINY {
        std::fs::write(folder.join(file.name), file.bytes).unwrap();
    }
    reshape_model(folder, change);
}

/// Gives the model in a folder another shape, with weights of it.
pub(crate) fn reshape_model(folder: &Path, change: impl FnOnce(&mut Value)) {
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    change(&mut config);
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
    let cases = [
        ("quickstart.toml", ""),
        ("quickstart.toml", "model.activation_checkpointing=full"),
        ("quickstart.toml", "train.tokens_per_micro_batch=1024"),
        ("quickstart.toml", "data.image_size=448 grpo.prompts_per_update=2"),
        // Where the CPU has no kernels.
        ("quickstart.toml", "model.dtype=bf16"),
        ("quickstart.toml", "model.dtype=bf16 model.lora.rank=8 model.lora.dropout=0.1"),
        ("quickstart.toml", "model.dtype=bf16 data.image_size=448 grpo.prompts_per_update=2"),
        ("grpo-synth-vc.toml", &format!("{model} grpo.prompts_per_update=2")),
        ("grpo-synth-vc.toml", &format!("{model} grpo.prompts_per_update=2 model.lora.rank=8")),
    ];
    for (file, changes) in cases {
        let folder = tempfile::tempdir().unwrap();
        let changes = changes.split(' ').filter(|change| !change.is_empty());
        let changes = changes.flat_map(|change| ["--set", change]);
        let words: Vec<&str> = ["--config", file].into_iter().chain(changes).collect();
        let (planned, measured) = planned_and_measured(folder.path(), &words);
        let ratio = planned / measured;
        assert!((0.8..1.2).contains(&ratio), "{words:?}: {planned:e} planned, {measured:e} held");
    }
}

/// Where the tests' device is an emulated one, which counts what is allocated on it; a real one does not say.
#[test]
fn planned_memory_on_a_gpu_is_what_the_emulated_device_holds_at_its_peak() {
    if !std::env::var("OTHINK_TEST_DEVICE").is_ok_and(|device| device.starts_with("cuda")) {
        return;
    }
    let run = "--config quickstart.toml --device cuda --set train.updates=1 --set train.checkpoint_every=0 \
               --set grpo.prompts_per_update=2 --set rollout.max_new_tokens=24 \
               --set rollout.min_new_tokens=24 --set eval.before_training=false \
               --set eval.after_training=false";
    for (dtype, change, tolerance) in [
        ("bf16", "model.activation_checkpointing=mlp", 0.02),
        ("bf16", "train.tokens_per_micro_batch=200", 0.02),
        ("f32", "model.freeze_vision=true", 0.02),
        // Gradients, moments and the reference, whose sizes are known exactly, are no part of this one.
        ("bf16", "model.lora.rank=8", 0.05),
        ("bf16", "model.lora.dropout=0.1", 0.05),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dtype = format!("model.dtype={dtype}");
        let words: Vec<&str> = run.split_whitespace().collect();
        let words = [&["train"][..], &words, &["--set", &dtype, "--set", change]].concat();
        let plan = othink(folder.path(), &[&words[..], &["--dry-run", "--json"]].concat());
        let plan: Value = serde_json::from_slice(&plan).unwrap();
        assert_eq!(plan["is_here"], true);
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        let counters = folder.path().join("counters.json");
        command.args(words).args(["--out", "run"]).current_dir(folder.path());
        command.env("EMU_COUNTERS", &counters).env_remove("EMU_GUARD");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let Ok(counted) = std::fs::read(&counters) else { return };
        let counted: Value = serde_json::from_slice(&counted).unwrap();
        let bytes = |value: &Value| value.as_f64().unwrap();
        let metrics = crate::runs::lines(&folder.path().join("run/metrics.jsonl"));
        assert_eq!(metrics[0]["peak_bytes"], counted["peak_bytes"], "the device's, not the host's");
        // The driver's own part is not emulated, but for the workspace of matrix products, 32 MiB.
        let workspace = f64::from(32 << 20);
        let memory = &plan["memory"];
        let planned = bytes(&memory["total"]) - bytes(&memory["driver"]);
        let ratio = planned / (bytes(&counted["peak_bytes"]) - workspace);
        assert!((ratio - 1.0).abs() < tolerance, "{dtype}, {change}: {ratio}");
    }
}

/// The plan of a run file in an empty folder without data, weights and network, as JSON; nothing is written.
pub(crate) fn planned(words: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let words = [&["train", "--dry-run", "--json", "--config"], words].concat();
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(&words).current_dir(folder.path());
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", folder.path().join("no-cache"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn published_run_files_are_planned_without_weights_data_or_network() {
    for (file, updates) in [("geoqa.toml", 1000), ("clevr.toml", 8750), ("sft-geoqa.toml", 63)] {
        let plan = planned(&[file]);
        assert_eq!(plan["updates"], updates, "{file}");
        assert_eq!(plan["parameters"], 2_208_985_600_u64);
        assert_eq!(plan["workload"]["is_measured"], false);
    }
}

#[test]
fn a_gpu_that_is_not_here_is_planned_for_without_time_and_without_a_verdict() {
    let plan = planned(&["geoqa.toml", "--device", "cuda:7"]);
    assert_eq!((&plan["is_here"], &plan["dtype"]), (&false.into(), &"bf16".into()));
    assert!(plan["device"].as_str().unwrap().starts_with("a GPU that is not here ("), "{plan}");
    assert_eq!((&plan["available_bytes"], &plan["fits"]), (&Value::Null, &Value::Null));
    assert_eq!(plan["remedies"], json!([]));
    let unknown = "not known: --gpu NAME plans for a card of known speed";
    assert_eq!(plan["time"], json!({ "unknown": unknown }));
    // Weights, their masters, two moments and gradients: 2 + 4 + 8 + 4 bytes a parameter; the reference's are the host's.
    assert!(plan["memory"]["total"].as_f64().unwrap() > 18.0 * 2.2e9);
    assert!(plan["host"]["needed_bytes"].as_f64().unwrap() > 2.0 * 2.2e9);
    let in_f32 = planned(&["geoqa.toml", "--device", "cuda:7", "--set", "model.dtype=f32"]);
    assert_eq!(in_f32["dtype"], "f32");
    // Compositions keep attention's scores: of 12 heads and 28 layers, six arrays of 4 bytes for each two tokens.
    let tokens = in_f32["workload"]["streams"][0]["tokens"].as_f64().unwrap();
    let scores = 28.0 * 12.0 * 6.0 * 4.0 * tokens * tokens;
    assert!(in_f32["memory"]["activations"].as_f64().unwrap() > scores);
}

/// What the paper's runs need on the cards that there are; nothing of the machine at hand counts.
#[test]
fn published_run_files_fit_cards_of_80_48_24_and_8_gb_with_ever_less_kept() {
    let (mlp, offload) = ("model.activation_checkpointing=mlp", "optim.offload=true");
    let lora = "model.lora.rank=16";
    let at_8 = &[mlp, lora][..];
    for (file, at_8) in [
        ("geoqa.toml", at_8),
        ("clevr.toml", at_8),
        ("grpo-d-geoqa.toml", at_8),
        ("grpo-d-clevr.toml", at_8),
        ("sft-geoqa.toml", &[lora]),
        ("sft-clevr.toml", &[lora]),
    ] {
        let on = |gb: &str| planned(&[file, "--gpu-memory", gb]);
        let large = on("80");
        assert_eq!((&large["fits"], &large["remedies"]), (&true.into(), &json!([])), "{file}");
        for (plan, settings) in [(on("48"), &[][..]), (on("24"), &[offload]), (on("8"), at_8)] {
            assert_eq!(plan["fits"], settings.is_empty(), "{file}");
            let enough = plan.get("enough").map_or(json!([]), |enough| enough["settings"].clone());
            assert_eq!(enough, json!(settings), "{file}");
            assert!(plan.get("shortfall").is_none(), "{file}");
        }
        let small = on("4");
        assert_eq!(small["shortfall"]["card_gib"], 8, "{file}");
        assert!(small.get("enough").is_none(), "{file}");
        let dearest = if at_8 == [lora] { lora } else { "data.max_pixels=200704" };
        let remedies = small["remedies"].as_array().unwrap();
        assert!(remedies.iter().any(|remedy| remedy["setting"] == dearest), "{file}");
    }
}

/// The step that other programs are measured by: 8 prompts x 8 completions of 256 tokens, pictures of 448 x 448.
#[test]
fn a_step_of_64_completions_needs_46_gb_where_mlps_are_recomputed_and_less_on_a_small_card() {
    let gigabytes = |changes: &[&str]| {
        let step = [
            "grpo.prompts_per_update=8",
            "data.max_pixels=200704",
            "rollout.max_new_tokens=256",
            "model.activation_checkpointing=mlp",
        ];
        let changes = step.iter().chain(changes).flat_map(|change| ["--set", change]);
        let words: Vec<&str> =
            ["geoqa.toml", "--gpu-memory", "80"].into_iter().chain(changes).collect();
        planned(&words)["memory"]["total"].as_f64().unwrap() / 1e9
    };
    // README has these.
    for (changes, expected) in
        [(&[][..], 46.0), (&["optim.offload=true"], 20.0), (&["model.freeze_vision=true"], 34.0)]
    {
        let needed = gigabytes(changes);
        assert!((needed - expected).abs() <= 0.5, "{changes:?}: {needed}");
    }
}

#[test]
fn the_table_says_what_to_change_where_a_gpu_is_too_small() {
    let folder = tempfile::tempdir().unwrap();
    let table = |gb: &str| {
        let words = ["train", "--config", "geoqa.toml", "--dry-run", "--gpu-memory", gb];
        String::from_utf8(othink(folder.path(), &words)).unwrap()
    };
    let small = table("5");
    for line in [
        " in bf16 on a card sold as 5 GB\n",
        " at the peak of 5.37 GB that are available\n",
        "\nIt does not fit. What needs less, each on top of those above it:\n  model.activation_checkpointing=mlp   ",
        "MLPs are computed twice: about 15% more time in the policy stage\n",
        "\n  optim.offload=true  ",
        "\nNothing of this is enough: at least ",
        "\n  model.lora.rank=16  ",
        ", a card sold as 8 GB.\n",
    ] {
        assert!(small.contains(line), "{line:?} in {small}");
    }
    assert!(small.contains("\ntime           not known: --gpu NAME "), "{small}");
    let end = "\nIt fits with --set optim.offload=true: 23.94 GB.\n";
    assert!(table("24").ends_with(end), "{}", table("24"));
    assert!(table("80").ends_with("\nIt fits.\n"));
}

#[test]
fn cards_are_asked_for_in_plans_alone_by_a_known_name_or_a_number_of_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    for (words, told) in [
        (vec!["--gpu-memory", "24"], "--dry-run"),
        (vec!["--dry-run", "--gpu-memory", "0"], "expected a number of gigabytes, such as 24"),
        (vec!["--dry-run", "--gpu-memory", "80GB"], "expected a number of gigabytes, such as 24"),
        (vec!["--dry-run", "--gpu-memory", "24", "--device", "cpu"], "--device cpu"),
        (vec!["--gpu", "l4"], "--dry-run"),
        (vec!["--dry-run", "--gpu", "l5"], "expected one of a100-40gb, "),
        (vec!["--dry-run", "--gpu", "l4", "--gpu-memory", "24"], "--gpu-memory <GB>"),
        (vec!["--dry-run", "--gpu", "l4", "--device", "cpu"], "--gpu plans for a GPU"),
        (vec!["--dry-run", "--force"], "--force"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        command.args(["train", "--config", "quickstart.toml"]).args(&words);
        let output = command.current_dir(folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {errors}");
        assert!(errors.contains(told), "{words:?}: {errors}");
    }
}

#[test]
fn training_in_f16_is_refused_whether_planned_or_begun() {
    let folder = tempfile::tempdir().unwrap();
    for more in [&["--dry-run", "--gpu-memory", "24"][..], &["--device", "cpu"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        command.args(["train", "--config", "quickstart.toml", "--set", "model.dtype=f16"]);
        let output = command.args(more).current_dir(folder.path()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        let told =
            "error: model.dtype is f16, expected auto, bf16 or f32: gradients below f16's least";
        assert!(errors.starts_with(told) && errors.contains("\nhint: "), "{errors}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
    }
}

/// 1,000 million checkpoints are more than any disk holds.
#[test]
fn a_disk_that_checkpoints_will_fill_is_told_in_the_plan_and_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let endless = [
        "train",
        "--config",
        "quickstart.toml",
        "--set",
        "train.updates=1000000000",
        "--set",
        "train.keep=1000000000",
        "--set",
        "train.checkpoint_every=1",
    ];
    let told = "warning: the run's checkpoints take about ";
    let table = othink(folder.path(), &[&endless[..], &["--dry-run"]].concat());
    assert_eq!(String::from_utf8(table).unwrap().matches(told).count(), 1);
    let json = othink(folder.path(), &[&endless[..], &["--dry-run", "--json"]].concat());
    let disk = &serde_json::from_slice::<Value>(&json).unwrap()["disk"];
    let bytes = |field: &str| disk[field].as_u64().unwrap();
    assert_eq!(bytes("needed_bytes"), 1_000_000_000 * bytes("checkpoint_bytes"));
    assert!(bytes("available_bytes") < bytes("needed_bytes"));
    // The run ends where it opens recorded completions that are not there, after its plan.
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(endless).args(["--set", "rollout.replay=none.jsonl"]).current_dir(folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.matches(told).count(), 1, "{errors}");
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
            .take(3)
            .collect();
        let needed = ["none", "mlp", "full"].map(|checkpointing| {
            let recompute = format!("model.activation_checkpointing={checkpointing}");
            let path = file.to_str().unwrap();
            // Of any size, so that no device of this machine is planned for.
            let plan = planned(&[path, "--gpu-memory", "80", "--set", &recompute]);
            plan["memory"]["total"].as_f64().unwrap() / 1e9
        });
        assert_eq!(said.len(), 3, "{}", file.display());
        n_files += 1;
        for (said, needed) in said.iter().zip(needed) {
            assert!((said - needed).abs() < 0.6, "{}: {said} said, {needed}", file.display());
        }
    }
    assert_eq!(n_files, 6);
}
