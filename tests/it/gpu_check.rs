//! `othink gpu-check`, on the CPU: what each stage says, and what is refused.
//! Not here: what a GPU does (`scripts/gpu_check.sh`).

use std::process::{Command, Output};

use serde_json::Value;

fn gpu_check(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_othink")).arg("gpu-check").args(words).output().unwrap()
}

const SMALL: [&str; 18] = [
    "--model",
    "tiny",
    "--device",
    "cpu",
    "--prompts",
    "1",
    "--group-size",
    "2",
    "--completion-tokens",
    "8",
    "--image-side",
    "4",
    "--copy-mb",
    "4",
    "--product-side",
    "64",
    "--repetitions",
    "1",
];

fn stages(words: &[&str]) -> Vec<Value> {
    let output = gpu_check(&[&SMALL, words, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next().unwrap()["device"], "cpu");
    lines.collect()
}

fn value<'a>(stage: &'a Value, name: &str) -> &'a Value {
    assert_eq!(stage["error"], Value::Null, "{stage}");
    let figures = stage["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure[0] == name);
    &found.unwrap_or_else(|| panic!("{name}: {stage}"))[1]
}

fn figure(stage: &Value, name: &str) -> f64 {
    value(stage, name).as_f64().unwrap()
}

#[test]
fn every_stage_measures_and_two_passes_give_the_same_bits() {
    let none = stages(&["--checkpointing", "none"]);
    let names: Vec<&str> = none.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "ceilings",
            "random model",
            "decoding",
            "repeated decoding",
            "reference",
            "policy",
            "repeated policy",
            "optimizer"
        ]
    );
    // A step's time is a difference, of any sign on a busy machine; its bytes are a count.
    let bytes = figure(&none[2], "a step, ms") * figure(&none[2], "traffic, TB/s") * 1e9;
    assert!((1e6..1e8).contains(&bytes), "{bytes}");
    assert_eq!(value(&none[3], "tokens"), 16.0);
    assert_eq!(value(&none[3], "tokens that differ"), 0.0);
    assert!(figure(&none[0], "copy, TB/s") > 0.0 && figure(&none[0], "product, TFLOP/s") > 0.0);
    assert_eq!(value(&none[6], "numbers that differ"), 0.0);
    assert!(figure(&none[6], "gradient norm") > 0.0);

    // What is computed again is performed and not needed; a backward pass needs two forward passes.
    let ratio =
        |stage: &Value| figure(stage, "performed, TFLOP/s") / figure(stage, "needed, TFLOP/s");
    let full = stages(&["--checkpointing", "full"]);
    let mlp = stages(&["--checkpointing", "mlp"]);
    let [of_none, of_mlp, of_full] = [&none, &mlp, &full].map(|stages| ratio(&stages[5]));
    assert!(1.0 < of_none && of_none < of_mlp && of_mlp < of_full, "{of_none} {of_mlp} {of_full}");
    assert!(
        (of_full - 4.0 / 3.0).abs() < 1e-9,
        "layers and head are computed four times: {of_full}"
    );
    assert!((ratio(&none[4]) - 1.0).abs() < 1e-9);
    assert_eq!(value(&full[6], "gradient norm"), value(&none[6], "gradient norm"));
}

/// Of another family, whose published shapes are known without a file; here one with files.
#[test]
fn low_rank_factors_are_measured_in_the_place_of_the_weights() {
    let model = ["--model", "tests/golden/families/qwen3_vl/tied", "--only", "learning,optimizer"];
    let of = |more: &[&str]| {
        let words = [&SMALL[2..], &model, more, &["--json"]].concat();
        let output = gpu_check(&words);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let (whole, factors) = (of(&[]), of(&["--lora-rank", "2"]));
    let [learned, repeated, step] = [2, 3, 4].map(|i| &factors[i]);
    assert!(figure(repeated, "gradient norm") > 0.0);
    assert_eq!(value(repeated, "numbers that differ"), 0.0);
    let moved = |step| figure(step, "traffic, TB/s") * figure(step, "seconds");
    assert!(moved(step) < 0.2 * moved(&whole[4]));
    let performed = |stage| figure(stage, "performed, TFLOP/s") * figure(stage, "seconds");
    assert!(performed(learned) < 0.8 * performed(&whole[2]), "no weight has a gradient");
}

#[test]
fn gradients_in_bf16_are_half_as_many_bytes_of_the_optimizers_step() {
    let moved = |more: &[&str]| {
        let stages = stages(&[&["--dtype", "bf16", "--only", "optimizer"], more].concat());
        figure(&stages[1], "traffic, TB/s") * figure(&stages[1], "seconds")
    };
    for trained in [&[][..], &["--lora-rank", "2"]] {
        let wide = moved(trained);
        let narrow = moved(&[trained, &["--bf16-gradients"]].concat());
        assert!(narrow < 0.9 * wide, "{trained:?}: {narrow} {wide}");
    }
}

#[test]
fn what_is_asked_for_is_measured_alone() {
    for (only, expected) in [
        ("ceilings", &["ceilings"][..]),
        ("decoding", &["random model", "decoding", "repeated decoding"]),
        ("learning", &["random model", "reference", "policy", "repeated policy"]),
        ("ceilings,optimizer", &["ceilings", "random model", "optimizer"]),
    ] {
        let stages = stages(&["--only", only]);
        let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{only}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for (words, expected) in [
        (&["--prompts", "0"][..], "at least 1"),
        (&["--lora-rank", "0"], "at least 1"),
        (&["--completion-tokens", "0"], "at least 1"),
        (&["--group-size", "few"], "--group-size"),
        (&["--image-side", "5"], "take a multiple of 2"),
        (&["--checkpointing", "some"], "expected none, mlp or full"),
        (&["--bf16-gradients"], "found a model in f32"),
        (&["--only", "sampling"], "ceilings, decoding, learning, optimizer"),
        (&["--model", "no/such/folder"], "no/such/folder"),
    ] {
        let mut all: Vec<&str> = SMALL.to_vec();
        if let Some(place) = all.iter().position(|word| *word == words[0]) {
            all.drain(place..place + 2);
        }
        let output = gpu_check(&[&all, words].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {told}");
        assert!(told.contains(expected), "{words:?}: {told}");
    }
}

/// A machine's processor is measured only where it is asked for: the paper's model would not end on it.
#[cfg(not(feature = "cuda"))]
#[test]
fn without_a_gpu_nothing_is_measured_unasked() {
    let output = gpu_check(&[]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("this program was built without CUDA"), "{told}");
}
