//! What the program asks of a GPU: launches in a layer and in a step of decoding, downloads in an update. Counted by the emulated device; a real one
//! does not say.
//! Not here: its memory (`plan`), its results (`parity`).

use std::process::Command;

use serde_json::Value;

use crate::plan::write_model;

/// What a run asks of the emulated device, by name; `None` where the tests' device is another.
fn counted(words: &[&str]) -> Option<Counts> {
    counted_with(&[], words)
}

/// [`counted`], with some variables of the environment.
fn counted_with(environment: &[(&str, &str)], words: &[&str]) -> Option<Counts> {
    if !std::env::var("OTHINK_TEST_DEVICE").is_ok_and(|device| device.starts_with("cuda")) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let counters = folder.path().join("counters.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(words).current_dir(folder.path()).env("EMU_COUNTERS", &counters);
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counted = std::fs::read(&counters).ok()?;
    Some(Counts(serde_json::from_slice(&counted).unwrap()))
}

struct Counts(Value);

impl Counts {
    fn of(&self, name: &str) -> i64 {
        self.0[name].as_i64().unwrap()
    }
}

/// Updates that learn from answers and sample nothing.
fn train(updates: &str, words: &[&str]) -> Option<Counts> {
    let common = "train --config sft-synth-vc.toml --quiet --device cuda --set model.dtype=bf16 \
                  --set grpo.prompts_per_update=2 --set eval.before_training=false \
                  --set eval.after_training=false --set train.checkpoint_every=0 --out run";
    let common: Vec<&str> = common.split_whitespace().collect();
    counted(&[&common[..], &["--set", updates], words].concat())
}

/// Launches of kernels and matrix products in one update of a model of some shape.
fn launches(checkpointing: &str, change: fn(&mut Value)) -> Option<i64> {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), change);
    let model = format!("model.path={}", folder.path().display());
    let checkpointing = format!("model.activation_checkpointing={checkpointing}");
    let words = ["--set", &model, "--set", &checkpointing];
    let [one, two] = ["train.updates=1", "train.updates=2"].map(|updates| train(updates, &words));
    let launches = |counts: Counts| counts.of("launches") + counts.of("products");
    Some(launches(two?) - launches(one?))
}

#[test]
fn a_layer_is_learned_from_in_seventy_launches() {
    for (checkpointing, limit) in [("none", 70), ("full", 85)] {
        let Some(shallow) = launches(checkpointing, |_| ()) else { return };
        let layer = launches(checkpointing, |config| config["num_hidden_layers"] = 5.into());
        let block = launches(checkpointing, |config| config["vision_config"]["depth"] = 5.into());
        for (part, deeper) in [("a layer", layer), ("a block of the tower", block)] {
            let more = deeper.unwrap() - shallow;
            assert!((20..=limit).contains(&more), "{checkpointing}, {part}: {more}");
        }
    }
}

/// Everything that `gpu-check` does, with a small model.
fn gpu_check(tokens: &str, repetitions: &str) -> Option<Counts> {
    gpu_check_with(&[], tokens, repetitions)
}

fn gpu_check_with(environment: &[(&str, &str)], tokens: &str, repetitions: &str) -> Option<Counts> {
    let words = "gpu-check --model tiny --device cuda --dtype bf16 --prompts 1 --group-size 2 --image-side 4 \
                 --copy-mb 4 --product-side 64 --json";
    let words: Vec<&str> = words.split_whitespace().collect();
    let more = ["--completion-tokens", tokens, "--repetitions", repetitions];
    counted_with(environment, &[&words[..], &more].concat())
}

#[test]
fn passes_read_nothing_back_and_a_step_its_norm() {
    let Some(once) = gpu_check("8", "1") else { return };
    let twice = gpu_check("8", "2").unwrap();
    let more = twice.of("blocking_downloads") - once.of("blocking_downloads");
    assert_eq!(more, 3, "one for each of the three optimisers");
}

#[test]
fn a_step_of_decoding_is_one_launch_of_seven_kernels_a_layer() {
    let Some(short) = gpu_check("8", "1") else { return };
    let long = gpu_check("16", "1").unwrap();
    let more = |name| long.of(name) - short.of(name);
    let (steps, layers) = (more("graph_launches"), 4);
    assert!(steps > 30, "{steps}");
    // Besides the layers: embeddings, the last norm, the head, three of the sampler.
    assert_eq!(more("launches"), steps * (7 * layers + 6));
    assert_eq!(more("early_launches"), more("launches"));
    for none in ["products", "uploads", "allocations", "blocking_downloads", "memsets"] {
        assert_eq!(more(none), 0, "{none}");
    }
}

#[test]
fn kernels_begin_when_those_ahead_have_ended_where_that_is_asked_for() {
    let Some(early) = gpu_check("8", "1") else { return };
    let in_turn = gpu_check_with(&[("OTHINK_CUDA_EARLY", "0")], "8", "1").unwrap();
    assert!(early.of("early_launches") > 100);
    assert_eq!(in_turn.of("early_launches"), 0);
    assert_eq!(in_turn.of("launches"), early.of("launches"));
}

/// Launches of a kernel of the sampler in an update that samples with these settings.
fn sampler_kernels(settings: &[&str]) -> Option<[i64; 4]> {
    let common = "train --config quickstart.toml --quiet --device cuda --set model.dtype=bf16 --set train.updates=1 \
                  --set grpo.prompts_per_update=1 --set rollout.max_new_tokens=16 --set eval.before_training=false \
                  --set eval.after_training=false --set train.checkpoint_every=0 --out run";
    let words: Vec<&str> = common.split_whitespace().chain(settings.iter().copied()).collect();
    let counts = counted(&words)?;
    let calls = |kernel: &str| counts.0["executions"][kernel]["calls"].as_i64().unwrap_or(0);
    let kernels = ["sample_extremes", "sample_filter", "sample_totals", "sample_draw"];
    Some(kernels.map(calls))
}

#[test]
fn a_filter_is_one_kernel_more_for_each_draw_and_min_p_and_the_penalty_none() {
    let more = ["--set", "rollout.min_p=0.1", "--set", "rollout.repetition_penalty=1.1"];
    for (settings, filters) in [
        (&[][..], false),
        (&more, false),
        (&["--set", "rollout.top_k=3"], true),
        (&["--set", "rollout.top_p=0.9"], true),
        (&["--set", "rollout.top_p=0.9", "--set", "rollout.top_k=3"], true),
    ] {
        let Some(calls) = sampler_kernels(settings) else { return };
        let draws = calls[3];
        assert!(draws > 12, "{settings:?}: {draws}");
        assert_eq!(calls, [draws, draws * i64::from(filters), draws, draws], "{settings:?}");
    }
}

#[test]
fn an_update_reads_back_its_figures_and_its_norm_whatever_its_micro_batches() {
    for micro_batch in ["train.tokens_per_micro_batch=8192", "train.tokens_per_micro_batch=200"] {
        let words = ["--set", micro_batch];
        let Some(one) = train("train.updates=1", &words) else { return };
        let two = train("train.updates=2", &words).unwrap();
        let downloads = two.of("blocking_downloads") - one.of("blocking_downloads");
        assert_eq!(downloads, 2, "{micro_batch}");
    }
}
