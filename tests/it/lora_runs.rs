//! Runs with `[model.lora]`, and adapters wherever a model is taken: training, resuming, evaluating, merging, what is refused.
//! Not here: the numbers themselves (`lora`).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor};
use othink::model::files::ModelFiles;
use othink::model::open::open;
use othink::model::parameters::Trained;
use othink::model::source;
use serde_json::{Value, json};

use crate::golden::relative_difference;
use crate::runs::{config, last_checkpoint, lines, train};
use crate::train::{assert_same_run, succeed};

const LORA: [&str; 4] = ["--set", "model.lora.rank=4", "--set", "model.lora.vision=true"];

fn run(folder: &Path, method: &str, name: &str, more: &[&str]) -> PathBuf {
    let out = folder.join(name);
    succeed(train(&config(folder, method), &out, more));
    out
}

fn adapter_of(run: &Path) -> PathBuf {
    run.join(last_checkpoint(run))
}

fn othink(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(arguments);
    command
}

/// What a command says when it refuses with code 2.
fn refused(mut command: Command) -> String {
    let output: Output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("\nhint: "), "{said}");
    said
}

#[test]
fn a_resumed_run_with_low_rank_factors_has_the_bits_of_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    for method in ["grpo-d", "sft"] {
        let whole = run(folder.path(), method, &format!("{method}-whole"), &LORA);
        let cut = run(folder.path(), method, &format!("{method}-cut"), &LORA);
        for update in ["step-000004", "step-000006"] {
            std::fs::remove_dir_all(cut.join("checkpoints").join(update)).unwrap();
        }
        let resume = [&LORA[..], &["--resume"]].concat();
        succeed(train(&config(folder.path(), method), &cut, &resume));
        assert_same_run(&whole, &cut);
    }
}

/// Each method in whose updates something is dropped: the run is another one, its resumption is the same, and what samples and
/// measures drops nothing.
#[test]
fn dropout_is_part_of_what_a_run_learns_and_of_its_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let dropout = [&LORA[..], &["--set", "model.lora.dropout=0.5"]].concat();
    for method in ["grpo-d", "sft"] {
        let without = run(folder.path(), method, &format!("{method}-without"), &LORA);
        let whole = run(folder.path(), method, &format!("{method}-whole"), &dropout);
        let cut = run(folder.path(), method, &format!("{method}-cut"), &dropout);
        let [before, after] = [&without, &whole].map(|run| lines(&run.join("metrics.jsonl")));
        assert_ne!(before[2]["loss"], after[2]["loss"], "{method}");
        for update in ["step-000004", "step-000006"] {
            std::fs::remove_dir_all(cut.join("checkpoints").join(update)).unwrap();
        }
        succeed(train(
            &config(folder.path(), method),
            &cut,
            &[&dropout[..], &["--resume"]].concat(),
        ));
        assert_same_run(&whole, &cut);
        let settings = std::fs::read(adapter_of(&whole).join("adapter_config.json")).unwrap();
        let settings: Value = serde_json::from_slice(&settings).unwrap();
        assert_eq!(settings["lora_dropout"], 0.5);
    }
}

/// One row is taught at a rate that changes nothing, so that all else is the same in every update.
#[test]
fn what_a_supervised_update_drops_is_named_by_the_seed_and_the_update() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let adapter = adapter_of(&run(root, "sft", "first", &LORA)); // fresh factors change nothing
    let rows = root.join("row.jsonl");
    std::fs::write(&rows, "{\"problem\": \"How many?\", \"solution\": \"3\"}\n").unwrap();
    let path = format!("model.path={}", adapter.display());
    let data = format!("data.train={}", rows.display());
    let entropies = |name: &str, dropout: &str, seed: &str| -> Vec<f64> {
        let flat =
            ["optim.lr=1e-12", "train.updates=2", "data.hold_out=0", "train.checkpoint_every=2"];
        let changes = [&[path.as_str(), &data, dropout, seed][..], &flat].concat();
        let changes = changes.iter().flat_map(|change| ["--set", *change]);
        let more: Vec<&str> = LORA.into_iter().chain(changes).collect();
        let metrics = lines(&run(root, "sft", name, &more).join("metrics.jsonl"));
        metrics.iter().map(|line| line["entropy"].as_f64().unwrap()).collect()
    };
    let differ = |a: f64, b: f64| (a - b).abs() > 1e-6 * a;
    let none = "model.lora.dropout=0";
    let without =
        [entropies("a", none, "train.seed=1"), entropies("b", none, "train.seed=2")].concat();
    assert!(without.iter().all(|&entropy| !differ(entropy, without[0])), "{without:?}");
    let half = "model.lora.dropout=0.5";
    let [one, other] = ["1", "2"].map(|seed| entropies(seed, half, &format!("train.seed={seed}")));
    assert!(differ(one[0], one[1]) && differ(one[0], other[0]), "{one:?} {other:?}");
    assert!(differ(one[0], without[0]));
}

/// The first update compares the base model with itself; later ones a policy that has moved with one that has not.
#[test]
fn the_reference_is_the_policy_without_its_factors_and_never_moves() {
    let folder = tempfile::tempdir().unwrap();
    let changes = ["--set", "grpo.updates_per_rollout=1", "--set", "grpo.mini_batches=1"];
    let out = run(folder.path(), "grpo", "run", &[&LORA[..], &changes].concat());
    let kl: Vec<f64> =
        lines(&out.join("metrics.jsonl")).iter().map(|line| line["kl"].as_f64().unwrap()).collect();
    assert!(kl[0].abs() < 1e-7, "{kl:?}");
    assert!(kl[1..].iter().all(|&kl| kl > 1e-6), "{kl:?}");
}

#[test]
fn factors_begin_where_the_seed_says_and_nothing_else_of_the_model_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let trained = |name: &str, seed: &str| {
        let seed = format!("train.seed={seed}");
        let flat = ["--set", "optim.lr=1e-12", "--set", "train.updates=1", "--set", &seed];
        let out = run(folder.path(), "sft", name, &[&LORA[..], &flat].concat());
        let path = adapter_of(&out).join("adapter_model.safetensors");
        candle_core::safetensors::load(path, &Device::Cpu).unwrap()
    };
    let (one, again, other) = (trained("a", "1"), trained("b", "1"), trained("c", "2"));
    assert!(one.keys().all(|name| name.contains(".lora_")));
    assert!(one.keys().any(|name| name.starts_with("base_model.model.model.visual.")));
    let name = "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight";
    assert!(relative_difference(&one[name], &again[name]) < 1e-6);
    assert!(relative_difference(&one[name], &other[name]) > 0.1);
    let a = one[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let bound = 1.0 / (one[name].dim(1).unwrap() as f32).sqrt();
    let largest = a.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    assert!(largest <= bound && largest > 0.8 * bound, "{largest} within {bound}");
}

/// Answers to the same questions, without times.
fn answers(model: &Path, out: &Path) -> Vec<Value> {
    let model = model.display().to_string();
    let file = out.display().to_string();
    let asked = ["eval", "--task", "synth-vc", "--limit", "4", "--model", &model, "--out", &file];
    let length = ["--max-new-tokens", "12", "--temperature", "1.0"];
    succeed(othink(&[&asked[..], &length].concat()));
    let answers = lines(out).into_iter().filter(|line| line.get("completion").is_some());
    answers.map(|line| line["completion"].clone()).collect()
}

#[test]
fn an_adapter_answers_as_the_model_that_it_is_merged_into_and_not_as_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let adapter = adapter_of(&run(root, "grpo-d", "run", &LORA));
    let merged = root.join("merged");
    let merge = |more: &[&str]| {
        let (adapter, out) = (adapter.display().to_string(), merged.display().to_string());
        othink(&[&["merge", "--adapter", &adapter, "--out", &out], more].concat())
    };
    succeed(merge(&[]));
    assert!(refused(merge(&[])).contains("merged is there already"));
    let of_adapter = answers(&adapter, &root.join("adapter.jsonl"));
    assert_eq!(of_adapter.len(), 4);
    assert_eq!(of_adapter, answers(&merged, &root.join("merged.jsonl")));
    let base = Path::new("tests/golden/micro/policy");
    assert_ne!(of_adapter, answers(base, &root.join("base.jsonl")));
    let weights = |files: &ModelFiles| {
        let model = open(files, DType::F32, &Device::Cpu, Trained::Nothing).unwrap();
        model.merged().unwrap().parameters().get("model.layers.0.mlp.up_proj.weight").unwrap()
    };
    let files = source::in_folder(&adapter).unwrap();
    let written = weights(&source::in_folder(&merged).unwrap());
    assert!(relative_difference(written.value(), weights(&files).value()) == 0.0);
}

#[test]
fn an_adapter_is_trained_further_with_its_own_settings_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let adapter = adapter_of(&run(root, "sft", "first", &LORA));
    let path = format!("model.path={}", adapter.display());
    let further = |changes: &[&str]| {
        let changes: Vec<&str> = changes.iter().flat_map(|change| ["--set", *change]).collect();
        let more = [&["--set", &path, "--set", "optim.lr=1e-12"][..], &changes].concat();
        train(&config(root, "sft"), &root.join("further"), &more)
    };
    let whole = refused(further(&[]));
    assert!(whole.contains("an adapter, to be trained as a whole model"), "{whole}");
    let both = ["model.lora.rank=4", "model.lora.vision=true"];
    for (changes, found) in [
        (&["model.lora.rank=5", "model.lora.vision=true"][..], "r is 4, expected 5"),
        (&[&both[..], &["model.lora.alpha=8"]].concat(), "lora_alpha is 32, expected 8"),
        (&[&both[..], &["model.lora.rslora=true"]].concat(), "use_rslora is false, expected true"),
        (&["model.lora.rank=4"], "target_modules is that of"),
    ] {
        let said = refused(further(changes));
        assert!(said.contains(found), "{said}");
    }
    succeed(further(&both));
    let further = adapter_of(&root.join("further"));
    let load = |folder: &Path| -> BTreeMap<String, Tensor> {
        let path = folder.join("adapter_model.safetensors");
        candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
    };
    let (before, after) = (load(&adapter), load(&further));
    for (name, tensor) in &before {
        assert!(relative_difference(tensor, &after[name]) < 1e-6, "{name}");
    }
    let settings = |folder: &Path| -> Value {
        let text = std::fs::read(folder.join("adapter_config.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    assert_eq!(settings(&adapter), settings(&further), "for the same base model");
}

#[test]
fn settings_that_mean_nothing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let with = |changes: &[&str]| {
        let changes: Vec<&str> = changes.iter().flat_map(|change| ["--set", *change]).collect();
        refused(train(&config(folder.path(), "sft"), &folder.path().join("run"), &changes))
    };
    let none = with(&["model.lora.rank=0"]);
    assert!(none.contains("model.lora.rank is 0, expected a whole number from 1 to"), "{none}");
    let target = with(&["model.lora.targets=[\"query\"]"]);
    let known = "\"query\" is the end of no linear map's name, expected one of down_proj, gate_proj, \
                 k_proj, o_proj, q_proj, up_proj, v_proj\n";
    assert!(target.contains(known), "{target}");
    assert!(target.contains("model.lora.vision = true adds the vision tower's maps"), "{target}");
    let tower = with(&["model.lora.targets=[\"query\"]", "model.lora.vision=true"]);
    assert!(tower.contains("attn.proj") || tower.contains(" fc1, "), "{tower}");
    for (key, found) in [
        ("model.lora.alpha=0", "model.lora.alpha"),
        ("model.lora.targets=[]", "model.lora.targets"),
        ("model.lora.r=4", "here: `model.lora.rank`"),
        ("model.lora.dropout=1", "model.lora.dropout is 1, expected a number from 0 to below 1"),
        ("model.lora.lora_dropout=0.1", "here: `model.lora.dropout`"),
        ("model.lora.ranks=4", "did you mean `model.lora.rank`?"),
    ] {
        assert!(with(&[key]).contains(found), "{key}");
    }
}

/// What is said of the adapter in a folder after a change of its settings.
fn said_of(change: impl FnOnce(&Path, &mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let original = Path::new("tests/golden/lora/qwen2_5_vl");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(original.join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("adapter_config.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(folder.path(), &mut settings);
    std::fs::write(&path, settings.to_string()).unwrap();
    let model = folder.path().display().to_string();
    let image = "tests/golden/families/images/odd.png";
    refused(othink(&["infer", "--model", &model, "--image", image, "--prompt", "How many?"]))
}

#[test]
fn adapters_of_other_kinds_and_of_other_models_are_named() {
    let changed = |field: &str, value: Value| {
        said_of(|_, settings| {
            settings[field] = value;
        })
    };
    for (field, value, found) in [
        ("peft_type", json!("IA3"), "peft_type is \"IA3\", expected \"LORA\""),
        ("use_dora", json!(true), "use_dora is true, expected false"),
        ("bias", json!("all"), "bias is \"all\", expected \"none\""),
        ("rank_pattern", json!({"q_proj": 2}), "rank_pattern is {\"q_proj\":2}, expected none"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save is [\"lm_head\"], expected none"),
        ("init_lora_weights", json!("pissa_niter_4"), "init_lora_weights is \"pissa_niter_4\""),
        ("r", json!(5), "has shape [4, 56], expected [5, 56] of this model and r = 5"),
        ("r", json!(0), "r is 0, expected a whole number from 1"),
        ("lora_alpha", json!(-1), "lora_alpha is -1, expected a positive number"),
        ("base_model_name_or_path", json!(""), "base_model_name_or_path is missing or empty"),
        ("base_model_name_or_path", json!("nowhere"), "is \"nowhere\": no such folder"),
        (
            "base_model_name_or_path",
            json!("tests/golden/lora/qwen3_vl"),
            "that is an adapter itself",
        ),
        ("base_model_name_or_path", json!("tests/golden/families/qwen3_vl/tied"), "has shape"),
        ("base_model_name_or_path", json!("tiny"), "has shape"),
    ] {
        let said = changed(field, value);
        assert!(said.contains(found) && said.contains("adapter_"), "{field}: {said}");
    }
}

#[test]
fn an_adapter_without_its_weights_or_with_some_of_them_is_named() {
    let none = said_of(|folder, _| {
        std::fs::remove_file(folder.join("adapter_model.safetensors")).unwrap();
    });
    assert!(none.contains("no such file, expected the adapter's weights"), "{none}");
    let rewritten = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
        said_of(|folder, _| {
            let path = folder.join("adapter_model.safetensors");
            let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
            change(&mut tensors);
            candle_core::safetensors::save(&tensors, &path).unwrap();
        })
    };
    let q = "base_model.model.model.language_model.layers.0.self_attn.q_proj";
    let single = rewritten(&|tensors| {
        tensors.remove(&format!("{q}.lora_B.weight")).unwrap();
    });
    assert!(single.contains("model.layers.0.self_attn.q_proj has one factor, expected two"));
    let empty = rewritten(&|tensors| tensors.clear());
    assert!(empty.contains("the file holds no tensor"), "{empty}");
    for (name, found) in [
        ("lora_embedding_A", "is no factor of LoRA"),
        ("lora_magnitude_vector.weight", "is no factor of LoRA"),
        ("other.lora_A.weight", "is for no linear map of the model"),
    ] {
        let said = rewritten(&|tensors| {
            let moved = tensors.remove(&format!("{q}.lora_A.weight")).unwrap();
            tensors.insert(format!("{q}.{name}"), moved);
        });
        assert!(said.contains(found), "{said}");
    }
}

#[test]
fn merging_says_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("merged").display().to_string();
    let merge = |adapter: &str, more: &[&str]| {
        othink(&[&["merge", "--adapter", adapter, "--out", &out], more].concat())
    };
    let model = refused(merge("tests/golden/micro/policy", &[]));
    assert!(model.contains("no adapter_config.json is in it"), "{model}");
    let adapter = "tests/golden/lora/qwen3_vl";
    let mut elsewhere = merge(adapter, &["--model", "tests/golden/families/qwen3_vl/untied"]);
    let said = String::from_utf8(elsewhere.output().unwrap().stderr).unwrap();
    assert_eq!(said, "", "the model that the adapter names");
    let files = ModelFiles::Folder(out.clone().into());
    let merged = open(&files, DType::BF16, &Device::Cpu, Trained::Nothing).unwrap();
    assert!(!merged.has_factors());
    let index = Path::new(&out).join("model.safetensors");
    let stored = candle_core::safetensors::load(index, &Device::Cpu).unwrap();
    assert!(stored.values().all(|tensor| tensor.dtype() == DType::BF16), "as the model's files");
    assert!(stored.contains_key("model.language_model.norm.weight"), "and under their names");
}

#[test]
fn a_merge_that_fails_leaves_nothing_and_one_that_was_cut_off_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("merged"));
    std::fs::create_dir(&adapter).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(Path::new("tests/golden/lora/qwen3_vl").join(name), adapter.join(name))
            .unwrap();
    }
    let weights = adapter.join("adapter_model.safetensors");
    let factors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap().into_iter();
    let factors = factors.map(|(name, factor)| (name, factor.affine(f64::NAN, 0.0).unwrap()));
    let factors: HashMap<String, Tensor> = factors.collect();
    candle_core::safetensors::save(&factors, &weights).unwrap();
    let paths = [&adapter, &out].map(|path| path.display().to_string());
    let merge = || othink(&["merge", "--adapter", &paths[0], "--out", &paths[1]]);
    let output = merge().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("is NaN"), "{said}");
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["adapter"]);
    std::fs::create_dir(folder.path().join("merged.tmp")).unwrap();
    let said = refused(merge());
    assert!(said.contains("merged.tmp is there already") && said.contains("cut off"), "{said}");
}
