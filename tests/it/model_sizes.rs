//! What runs of every family take: plans of published models without their files against the table in `docs/run-file.md`, and
//! plans against what runs hold.
//! Not here: what is planned of Qwen2-VL (`plan`); the configurations' numbers of parameters (`model::published`).

use serde_json::Value;

use crate::plan::{othink, planned_and_measured, reshape_model};

const PUBLISHED: [&str; 7] = [
    "Qwen2-VL-2B",
    "Qwen2-VL-7B",
    "Qwen2.5-VL-3B",
    "Qwen2.5-VL-7B",
    "Qwen3-VL-2B",
    "Qwen3-VL-4B",
    "Qwen3-VL-8B",
];

/// The settings that are enough.
fn settings_of(enough: &Value) -> String {
    let settings = enough["settings"].as_array().unwrap().iter();
    let settings = settings.map(|setting| format!("`{}`", setting.as_str().unwrap()));
    settings.collect::<Vec<_>>().join(", ")
}

/// A row of the table of models in `docs/run-file.md`: billions of parameters, gigabytes as the run file stands, and what is
/// enough for a card of 80 GB.
fn row_of(id: &str, plan: &Value) -> String {
    let gigabytes = |bytes: &Value| bytes.as_f64().unwrap() / 1e9;
    let fits = match &plan["enough"] {
        Value::Null => "as it stands".to_owned(),
        enough => format!("{}: {:.0}", settings_of(enough), gigabytes(&enough["bytes"])),
    };
    let parameters = plan["parameters"].as_f64().unwrap() / 1e9;
    let total = gigabytes(&plan["memory"]["total"]);
    format!("| `{id}` | {parameters:.2} | {total:.0} | {fits} |")
}

#[test]
fn published_models_are_planned_without_their_files_as_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let table = std::fs::read_to_string("docs/run-file.md").unwrap();
    for name in PUBLISHED {
        let id = format!("Qwen/{name}-Instruct");
        for config in ["grpo-d-geoqa.toml", "grpo-d-clevr.toml"] {
            let path = format!("model.path={id}");
            let words = ["train", "--config", config, "--set", &path, "--dry-run", "--json"];
            let plan = othink(folder.path(), &[&words[..], &["--gpu-memory", "80"]].concat());
            let row = row_of(&id, &serde_json::from_slice(&plan).unwrap());
            assert!(table.contains(&row), "{config}: docs/run-file.md lacks\n{row}");
        }
    }
}

/// A row of the table of low-rank factors: millions of numbers trained, gigabytes, and what is enough for cards of 12 and 24 GB.
fn low_rank_row_of(id: &str, plans: [&Value; 2]) -> String {
    let gigabytes = |bytes: &Value| format!("{:.0}", bytes.as_f64().unwrap() / 1e9);
    let fits = plans.map(|plan| match (&plan["enough"], &plan["shortfall"]) {
        (Value::Null, Value::Null) => "as it stands".to_owned(),
        (Value::Null, shortfall) => format!("needs {}", gigabytes(&shortfall["least_bytes"])),
        (enough, _) => format!("{}: {}", settings_of(enough), gigabytes(&enough["bytes"])),
    });
    let trained = plans[0]["trained_parameters"].as_f64().unwrap() / 1e6;
    let total = gigabytes(&plans[0]["memory"]["total"]);
    format!("| `{id}` | {trained:.1} | {total} | {} | {} |", fits[0], fits[1])
}

#[test]
fn low_rank_factors_of_published_models_are_planned_as_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let table = std::fs::read_to_string("docs/run-file.md").unwrap();
    let mut lacking = Vec::new();
    for name in PUBLISHED {
        let id = format!("Qwen/{name}-Instruct");
        let path = format!("model.path={id}");
        let changes = ["--set", "model.lora.rank=16", "--set", &path];
        let words = [&["train", "--config", "grpo-d-geoqa.toml"][..], &changes].concat();
        let plan = |gpu_memory: &str| -> Value {
            let more = ["--dry-run", "--json", "--gpu-memory", gpu_memory];
            let plan = othink(folder.path(), &[&words[..], &more].concat());
            serde_json::from_slice(&plan).unwrap()
        };
        let row = low_rank_row_of(&id, [&plan("12"), &plan("24")]);
        if !table.contains(&row) {
            lacking.push(row);
        }
    }
    assert!(lacking.is_empty(), "docs/run-file.md lacks\n{}", lacking.join("\n"));
}

/// Models of some 20 million parameters, so that activations and weights both count.
#[test]
fn planned_memory_of_every_family_is_within_a_fifth_of_the_peak() {
    for name in ["qwen2_5_vl/tied", "qwen3_vl/tied"] {
        let model = tempfile::tempdir().unwrap();
        let golden = std::path::absolute("tests/golden/families").unwrap().join(name);
        for entry in std::fs::read_dir(golden).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), model.path().join(entry.file_name())).unwrap();
        }
        reshape_model(model.path(), |config| {
            let nested = config.get("text_config").is_some();
            let text = if nested { &mut config["text_config"] } else { &mut *config };
            for (key, value) in [
                ("hidden_size", 512),
                ("intermediate_size", 1536),
                ("num_hidden_layers", 4),
                ("num_attention_heads", 8),
                ("num_key_value_heads", 2),
                ("head_dim", 64),
            ] {
                text[key] = value.into();
            }
            text["rope_scaling"]["mrope_section"] = serde_json::json!([12, 10, 10]);
            for (key, value) in [
                ("hidden_size", 256),
                ("intermediate_size", 768),
                ("num_heads", 8),
                ("out_hidden_size", 512),
            ] {
                config["vision_config"][key] = value.into();
            }
        });
        let path = format!("model.path={}", model.path().display());
        let words =
            "--config grpo-synth-vc.toml --set grpo.prompts_per_update=1 --set grpo.group_size=4";
        let words: Vec<&str> = words.split_whitespace().chain(["--set", &path]).collect();
        let folder = tempfile::tempdir().unwrap();
        let (planned, measured) = planned_and_measured(folder.path(), &words);
        let ratio = planned / measured;
        assert!((0.8..1.2).contains(&ratio), "{name}: {planned:e} planned, {measured:e} held");
    }
}
