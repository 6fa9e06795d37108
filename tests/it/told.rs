//! Warnings and errors of a run: keys without effect, fields that nothing reads, NaN and infinity, a reward that fails.
//! Not here: mistakes that keep it from starting (`wrong_input`, `cli`).

use std::process::Command;

use candle_core::Device;

use crate::runs::{config, lines, train};
use crate::train::succeed;

/// A command that succeeds and warns of these things alone, of each once.
fn warns(command: Command, expected: &[&str]) {
    let told = String::from_utf8(succeed(command).stderr).unwrap();
    for start in expected {
        assert_eq!(told.matches(start).count(), 1, "{start}: {told}");
    }
    let kinds = ["no effect", "off-policy", "nothing reads", "questions with"];
    let n_told: usize = kinds.iter().map(|kind| told.matches(kind).count()).sum();
    assert_eq!(n_told, expected.len(), "{told}");
}

#[test]
fn what_has_no_effect_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"problem\":\"<image>How many?\",\"solution\":3,\"topic\":\"a\"}\n".repeat(4);
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["rows.jsonl", "asked.jsonl"] {
        std::fs::write(path(name), &rows).unwrap();
    }
    let (data, asked) = (path("rows.jsonl"), format!("eval.data={}", path("asked.jsonl")));
    let more = ["--data", &data, "--set", &asked, "--set", "eval.before_training=true"];
    let more = [
        &more[..],
        &["--set", "rollout.top_k=5", "--set", "train.updates=2", "--set", "kl.beta=1"],
    ]
    .concat();
    let config = config(folder.path(), "grpo-d");
    let of_key = "warning: kl.beta: no effect, because kl.schedule = \"dynamic\" does not read it";
    let of_sampling = "warning: off-policy by rollout.top_k: ";
    let of_rows = [
        "rows.jsonl: fields `topic` in 4 rows, the first rows.jsonl:1: nothing reads them",
        "rows.jsonl: questions with `<image>` in 4 rows, the first rows.jsonl:1: ",
    ];
    let of_asked = of_rows.map(|line| line.replace("rows.jsonl", "asked.jsonl"));
    let of_asked = [of_asked[0].as_str(), of_asked[1].as_str()];
    let run = train(&config, &folder.path().join("run"), &more);
    warns(run, &[&[of_key, of_sampling][..], &of_rows, &of_asked].concat());
    let plan = train(&config, &folder.path().join("plan"), &[&more[..], &["--dry-run"]].concat());
    warns(plan, &[&[of_key][..], &of_rows].concat());
    let mut eval = Command::new(env!("CARGO_BIN_EXE_othink"));
    let model = crate::golden::folder().join("policy").display().to_string();
    eval.args(["eval", "--model", &model, "--data", &path("asked.jsonl"), "--max-new-tokens", "2"]);
    warns(eval, &of_asked);
}

#[test]
fn a_sweep_refuses_a_key_without_effect_and_warns_of_others_that_no_run_reads() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let sweep = |vary: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        command.current_dir(folder.path()).args(["sweep", "--config"]).arg(&config);
        command.args(["--vary", vary]);
        for change in ["kl.beta=0.1", "train.updates=2", "eval.limit=1", "eval.max_new_tokens=2"] {
            command.args(["--set", change]);
        }
        command
    };
    let refused = sweep("kl.beta=0,0.02").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.starts_with("error: kl.beta: no effect, because kl.schedule"), "{told}");
    assert!(!folder.path().join("runs").exists(), "nothing was trained");
    warns(sweep("kl.beta_max=0.08"), &["warning: kl.beta: no effect, because kl.schedule"]);
    warns(sweep("kl.schedule=dynamic,constant"), &[]);
}

/// `auto` is the CPU in a program without CUDA, and f32 there.
#[cfg(not(feature = "cuda"))]
#[test]
fn what_the_machine_leaves_without_effect_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let more = ["--set", "optim.masters=bf16", "--set", "optim.offload=true"];
    let of_masters = "warning: optim.masters: no effect, because the model is not in bf16";
    let of_offload =
        "warning: optim.offload: no effect, because the model is in the host's memory itself";
    let run = train(&config, &folder.path().join("auto"), &more);
    warns(run, &[of_masters, of_offload]);
    let named = [&more[..], &["--device", "cpu"]].concat();
    warns(train(&config, &folder.path().join("cpu"), &named), &[of_masters, of_offload]);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let out = folder.path().join("run");
    // Weights this large are finite, and what they give is not.
    let more = ["--set", "optim.lr=3e37", "--set", "train.checkpoint_every=1"];
    let output = train(&config, &out, &more).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("expected a finite number"), "{message}");
    assert!(message.contains("synth-vc/train/"), "{message}");
    let last = lines(&out.join("metrics.jsonl")).len();
    assert!((1..6).contains(&last), "{last}");
    assert!(out.join(format!("checkpoints/step-{last:06}/trainer/manifest.json")).is_file());
}

#[test]
fn weights_that_are_not_finite_are_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let out = folder.path().join("run");
    let more = ["--set", "optim.lr=1e38", "--set", "train.checkpoint_every=1"];
    let output = train(&config, &out, &more).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let told = "model.embed_tokens.weight: number 0 is inf, expected a finite one: not saved\n";
    assert!(message.contains(told), "{message}");
    let left = std::fs::read_dir(out.join("checkpoints")).unwrap().count();
    assert_eq!((lines(&out.join("metrics.jsonl")).len(), left), (1, 0));
}

#[test]
fn a_gradient_that_is_not_finite_is_named_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(crate::golden::folder().join("policy")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    // Logits, and with them the loss, are large but finite; image tokens are so small that the gradient through their
    // norm exceeds what f32 can hold.
    let weights = model.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
    for (name, factor) in [
        ("model.norm.weight", 3e36),
        ("visual.merger.mlp.2.weight", 1e-6),
        ("visual.merger.mlp.2.bias", 1e-6),
    ] {
        let scaled = (&tensors[name] * factor).unwrap();
        tensors.insert(name.to_owned(), scaled);
    }
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    let path = format!("model.path={}", model.display());
    let config = config(folder.path(), "sft");
    let more = ["--set", &path, "--set", "sft.target=solution"];
    let output = train(&config, &folder.path().join("run"), &more).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let named = "update 1: the gradient of visual.merger.mlp.2.bias is -inf, expected a finite";
    assert!(message.contains(named) && message.contains("synth-vc/train/"), "{message}");
}

#[test]
fn a_prompt_without_room_for_its_completions_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let more = ["--set", "rollout.max_new_tokens=4096", "--set", "train.updates=1"];
    let output = train(&config, &folder.path().join("run"), &more).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("synth-vc/train/") && message.contains(" and 4096 new ones"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn a_custom_reward_that_fails_ends_the_run_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let out = folder.path().join("run");
    let command = ["--set", "reward.command.program=false"];
    let output = train(&config, &out, &command).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("false") && message.contains("hint: "), "{message}");
}

#[test]
fn a_solution_that_the_rule_cannot_read_is_refused_by_row_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let rows = "{\"problem\": \"?\", \"solution\": \"7\"}\n{\"problem\": \"?\", \"solution\": \"seven\"}\n";
    std::fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
    let data = format!("data.train={:?}", folder.path().join("rows.jsonl"));
    let more = ["--set", &data, "--set", "reward.rule=r1v-superclevr", "--set", "train.updates=1"];
    let output = train(&config, &folder.path().join("refused"), &more).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("sample rows.jsonl:2: found the solution \"seven\""), "{message}");
    assert!(!folder.path().join("refused").exists());
    let counted = [&more[..], &["--set", "data.allow_unparsable=true"]].concat();
    let output = succeed(train(&config, &folder.path().join("counted"), &counted));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("rows.jsonl:2"), "{message}");
}
