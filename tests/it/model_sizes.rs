//! What runs of published models take, planned without their files, against the table in `docs/run-file.md`.
//! Not here: plans against what runs hold (`plan`); the configurations' numbers of parameters (`model::published`).

use serde_json::Value;

use crate::plan::othink;

/// A row of the table of models in `docs/run-file.md`: billions of parameters, gigabytes as the run file stands, and what is
/// enough for a card of 80 GB.
fn row_of(id: &str, plan: &Value) -> String {
    let gigabytes = |bytes: &Value| bytes.as_f64().unwrap() / 1e9;
    let fits = match &plan["enough"] {
        Value::Null => "as it stands".to_owned(),
        enough => {
            let settings = enough["settings"].as_array().unwrap().iter();
            let settings = settings.map(|setting| format!("`{}`", setting.as_str().unwrap()));
            let settings = settings.collect::<Vec<_>>().join(", ");
            format!("{settings}: {:.0}", gigabytes(&enough["bytes"]))
        }
    };
    let parameters = plan["parameters"].as_f64().unwrap() / 1e9;
    let total = gigabytes(&plan["memory"]["total"]);
    format!("| `{id}` | {parameters:.2} | {total:.0} | {fits} |")
}

#[test]
fn published_models_are_planned_without_their_files_as_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let table = std::fs::read_to_string("docs/run-file.md").unwrap();
    for name in [
        "Qwen2-VL-2B",
        "Qwen2-VL-7B",
        "Qwen2.5-VL-3B",
        "Qwen2.5-VL-7B",
        "Qwen3-VL-2B",
        "Qwen3-VL-4B",
        "Qwen3-VL-8B",
    ] {
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
