//! The times of `train --dry-run`: what is printed of them, and what they hang on.
//! Not here: the stages themselves (unit tests of `train::plan`), memory (`plan`).

use serde_json::{Value, json};

use crate::plan::{othink, planned};

/// A card by its name: its memory, and the time of every stage.
#[test]
fn a_card_of_the_table_is_planned_for_with_its_memory_and_its_times() {
    let on = |words: &[&str]| planned(&[&["geoqa.toml", "--gpu"], words].concat());
    let plan = on(&["h100-80gb"]);
    assert_eq!(plan["device"], "NVIDIA H100 80GB HBM3 (85.9 GB)");
    assert_eq!((&plan["is_here"], &plan["dtype"]), (&false.into(), &"bf16".into()));
    assert_eq!(plan["available_bytes"], 80_u64 << 30);
    let time = &plan["time"];
    assert_eq!(time["speeds"], "from the table of cards: NVIDIA H100 80GB HBM3");
    let stages = time["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["prefill", "decoding", "reference", "policy", "optimizer"]);
    let number = |value: &Value| value.as_f64().unwrap();
    let sum: f64 = stages.iter().map(|stage| number(&stage["seconds"])).sum();
    assert!((number(&time["seconds_per_update"]) - sum).abs() < 1e-9);
    assert!((number(&time["seconds"]) - 1000.0 * sum).abs() < 1e-6);
    for stage in stages {
        assert!((0.2..0.9).contains(&number(&stage["share"])), "{stage}");
        let seconds = number(&stage["amount"]) / number(&stage["speed"]);
        assert!((number(&stage["seconds"]) - seconds).abs() < 1e-9, "{stage}");
    }
    assert_eq!(stages[0]["share"], stages[2]["share"], "prompts are computed as the reference is");
    // The same products, more bandwidth.
    let h200 = on(&["NVIDIA H200"]);
    let seconds = |plan: &Value, i: usize| number(&plan["time"]["stages"][i]["seconds"]);
    assert!((seconds(&plan, 1) / seconds(&h200, 1) - 4800.0 / 3350.0).abs() < 1e-9);
    assert!((seconds(&plan, 3) / seconds(&h200, 3) - 1.0).abs() < 1e-9);
    let offloaded = on(&["h200", "--set", "optim.offload=true"]);
    assert_eq!(offloaded["time"]["stages"][4]["bound"], "bus");
    let in_f32 = on(&["h200", "--set", "model.dtype=f32"]);
    let unknown = "not known: on a GPU there are figures for bf16 alone";
    assert_eq!(in_f32["time"], json!({ "unknown": unknown }));
    let folder = tempfile::tempdir().unwrap();
    let words = ["train", "--config", "geoqa.toml", "--dry-run", "--gpu", "h200"];
    let table = String::from_utf8(othink(folder.path(), &words)).unwrap();
    for line in [
        "completions at full length; speeds from the table of cards: NVIDIA H200\n  prefill  ",
        "26% of what copying reaches\n  reference  ",
        "59% of what products reach\n  optimizer  ",
    ] {
        assert!(table.contains(line), "{line:?} in {table}");
    }
}
