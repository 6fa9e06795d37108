//! `othink train` as a user runs it: what it writes, resumption after a kill, bad numbers.
//! Not here: the numbers of an update (`training_parity`), being asked to end (`signals`), a run file's errors (`cli`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use candle_core::Device;
use serde_json::Value;

/// Fields of `metrics.jsonl` that depend on the machine.
const TIMED: [&str; 7] = [
    "tokens_per_s",
    "s_rollout",
    "s_reference",
    "s_policy",
    "s_optimizer",
    "s_total",
    "peak_bytes",
];

/// A short run on the micro checkpoint. Random weights earn nothing, so the KL term, a large rate and a
/// changed reference are what moves them.
pub(crate) fn config(folder: &Path, method: &str) -> PathBuf {
    let model = crate::golden::folder().join("policy").display().to_string();
    let text = format!(
        "method = \"{method}\"\n\
         [model]\npath = \"{model}\"\n\
         [data]\ntask = \"synth-vc\"\n\
         [grpo]\ngroup_size = 3\nprompts_per_update = 2\nupdates_per_rollout = 2\nmini_batches = 2\n\
         [kl]\nbeta = 1.0\n\
         [rollout]\nmax_new_tokens = 8\n\
         [optim]\nlr = 1e-2\n\
         [train]\nupdates = 6\ncheckpoint_every = 2\nkeep = 9\n"
    );
    let path = folder.join(format!("{method}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) fn train(config: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(["train", "--config"]).arg(config).arg("--out").arg(out).args(more);
    command
}

pub(crate) fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn without(fields: &[&str], path: &Path) -> Vec<Value> {
    let mut lines = lines(path);
    for line in &mut lines {
        for field in TIMED.iter().chain(fields) {
            line.as_object_mut().unwrap().remove(*field);
        }
    }
    lines
}

/// Everything that a run leaves, to the bit, but for times.
pub(crate) fn assert_same_run(a: &Path, b: &Path) {
    assert_same_run_but(&[], a, b);
}

/// As [`assert_same_run`], without some fields of `metrics.jsonl`.
pub(crate) fn assert_same_run_but(fields: &[&str], a: &Path, b: &Path) {
    for name in [
        "completions.jsonl",
        "checkpoints/step-000006/model.safetensors",
        "checkpoints/step-000006/trainer/optimizer.safetensors",
        "checkpoints/step-000006/trainer/progress.json",
    ] {
        let (ours, theirs) = (std::fs::read(a.join(name)), std::fs::read(b.join(name)));
        assert!(ours.unwrap() == theirs.unwrap(), "{name} differs");
    }
    let metrics = |run: &Path| without(fields, &run.join("metrics.jsonl"));
    assert_eq!(metrics(a), metrics(b));
}

#[test]
fn a_killed_and_resumed_run_equals_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    for method in ["grpo-d", "sft"] {
        let config = config(folder.path(), method);
        let whole = folder.path().join(format!("{method}-whole"));
        let killed = folder.path().join(format!("{method}-killed"));
        succeed(train(&config, &whole, &[]));

        let mut child = train(&config, &killed, &["--quiet"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_mins(2);
        // Killed at any moment after the first checkpoint, most likely inside an update.
        while !killed.join("checkpoints/step-000002").exists() {
            assert!(Instant::now() < deadline, "no checkpoint appeared");
            assert!(child.try_wait().unwrap().is_none_or(|status| status.success()));
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        succeed(train(&config, &killed, &["--resume"]));
        assert_same_run(&whole, &killed);
    }
}

#[test]
fn every_figure_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let out = folder.path().join("run");
    let output = succeed(train(&config, &out, &[]));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.trim_end().ends_with("step-000006"), "{printed}");

    let metrics = lines(&out.join("metrics.jsonl"));
    assert_eq!(metrics.len(), 6);
    for name in
        ["beta", "lr", "loss", "reward", "kl", "clip_fraction", "entropy", "grad_norm", "s_total"]
    {
        assert!(metrics.iter().all(|line| line[name].is_number()), "{name}");
    }
    // Eq. (3) with beta_min 0, beta_max 0.08 and 3 of 6 updates exploring.
    let betas: Vec<f64> = metrics.iter().map(|line| line["beta"].as_f64().unwrap()).collect();
    let expected = [0.04, 0.08 / 3.0, 0.04 / 3.0, 0.0, 0.08 / 3.0, 0.16 / 3.0];
    for (beta, expected) in betas.iter().zip(expected) {
        assert!((beta - expected).abs() < 1e-12, "{betas:?}");
    }
    assert_eq!(lines(&out.join("completions.jsonl")).len(), 6 / 2 * 4 * 3);
}

/// A step of 1e-4 is lost in a bf16 weight of 1 but not in its f32 master copy; both are saved.
#[test]
fn a_bf16_run_moves_and_resumes_like_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let bf16 = ["--set", "model.dtype=bf16", "--set", "optim.lr=1e-4"];
    let (whole, halved) = (folder.path().join("whole"), folder.path().join("halved"));
    succeed(train(&config, &whole, &bf16));
    let losses: Vec<f64> = lines(&whole.join("metrics.jsonl"))
        .iter()
        .map(|line| line["loss"].as_f64().unwrap())
        .collect();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let weights = |update| {
        std::fs::read(whole.join(format!("checkpoints/step-{update:06}/model.safetensors")))
    };
    assert!(weights(2).unwrap() != weights(6).unwrap());
    succeed(train(&config, &halved, &bf16));
    for update in ["step-000004", "step-000006"] {
        std::fs::remove_dir_all(halved.join("checkpoints").join(update)).unwrap();
    }
    succeed(train(&config, &halved, &[&bf16[..], &["--resume"]].concat()));
    assert_same_run(&whole, &halved);
}

/// Micro-batches move the last bits of a sum; which completions decode beside each other moves them in bf16 alone.
#[test]
fn a_run_is_resumed_with_what_moves_its_last_bits_under_a_warning_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    for dtype in ["f32", "bf16"] {
        let out = folder.path().join(dtype);
        let dtype = format!("model.dtype={dtype}");
        let set = ["--set", &dtype, "--set", "train.updates=2"];
        succeed(train(&config, &out, &set));
        let smaller = ["--resume", "--set", "train.tokens_per_micro_batch=1000"];
        for n_warnings in [1, 0] {
            let output = succeed(train(&config, &out, &[&set[..], &smaller].concat()));
            let said = String::from_utf8(output.stderr).unwrap();
            let warning = "tokens_per_micro_batch was 8192 and is 1000: from here on";
            assert_eq!(said.matches(warning).count(), n_warnings, "{said}");
        }
        let neighbours = ["--set", "rollout.max_batch=3"];
        let output =
            train(&config, &out, &[&set[..], &smaller, &neighbours].concat()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if dtype.ends_with("=f32") {
            assert!(output.status.success(), "{said}");
        } else {
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("config.toml: rollout.max_batch is 64, expected"), "{said}");
        }
    }
}

/// A reward of one's own in a few words of shell: every completion is worth 0.25.
const QUARTER: &str =
    r#"while read -r line; do id=${line#*\"id\":}; echo "{\"id\":${id%%,*},\"score\":0.25}"; done"#;

#[cfg(unix)]
#[test]
fn components_and_a_custom_reward_are_weighed_recorded_and_summed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str("[reward.weights]\nrepetition_penalty = 0.5\nlength_penalty = 0\n");
    let args = format!("args = [\"-c\", {QUARTER:?}]\n");
    text.extend(["[reward.command]\nprogram = \"sh\"\nweight = 2\n", &args]);
    std::fs::write(&config, text).unwrap();
    let out = folder.path().join("run");
    succeed(train(&config, &out, &["--set", "train.updates=2"]));
    let completions = lines(&out.join("completions.jsonl"));
    assert_eq!(completions.len(), 12);
    for line in &completions {
        let component = |name: &str| line["components"][name].as_f64().unwrap();
        assert_eq!(line["components"]["command"], 0.25);
        let paper =
            line["accuracy_reward"].as_f64().unwrap() + line["format_reward"].as_f64().unwrap();
        let sum = paper + 0.5 * component("repetition_penalty") + 2.0 * 0.25;
        assert!((line["reward"].as_f64().unwrap() - sum).abs() < 1e-12, "{line}");
    }
    let metrics = lines(&out.join("metrics.jsonl"));
    assert_eq!(metrics[0]["reward_components"]["command"], 0.25);
    assert!(metrics[0]["ungraded_fraction"].is_number());
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

#[test]
fn a_checkpoint_is_a_model_that_can_be_trained_further() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let first = folder.path().join("first");
    succeed(train(&config, &first, &["--set", "train.updates=1"]));
    let model = format!("model.path={:?}", first.join("checkpoints/step-000001"));
    let second = folder.path().join("second");
    succeed(train(&config, &second, &["--set", "train.updates=1", "--set", &model]));
    let loss = |run: &Path| lines(&run.join("metrics.jsonl"))[0]["loss"].as_f64().unwrap();
    assert!(loss(&second) < loss(&first), "{} {}", loss(&second), loss(&first));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let out = folder.path().join("run");
    // A rate this large overflows the weights within a few updates.
    let more = ["--set", "optim.lr=1e38", "--set", "train.checkpoint_every=1"];
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
fn a_gradient_that_is_not_finite_is_named_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(crate::golden::folder().join("policy")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    // Logits, and with them the loss, are large but finite; image tokens are so small that the slope of their norm,
    // on the way back, makes more of that than f32 can hold.
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
    let config = config(folder.path(), "sft");
    let path = format!("model.path={}", model.display());
    let more = ["--set", &path, "--set", "sft.target=solution"];
    let output = train(&config, &folder.path().join("run"), &more).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let named = "update 1: the gradient of visual.merger.mlp.2.weight is -inf, expected a finite";
    assert!(message.contains(named), "{message}");
}

/// A command that succeeds and warns of these things alone, of each once.
fn warns(command: Command, expected: &[&str]) {
    let told = String::from_utf8(succeed(command).stderr).unwrap();
    for start in expected {
        assert_eq!(told.matches(start).count(), 1, "{start}: {told}");
    }
    let kinds = ["without effect", "off-policy", "nothing reads", "questions with"];
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
    let more = [&more[..], &["--set", "rollout.top_k=5", "--set", "train.updates=2"]].concat();
    let config = config(folder.path(), "grpo-d");
    let of_key = "warning: kl.beta: without effect, as kl.schedule = \"dynamic\" does not read it";
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
fn the_built_in_model_trains_by_its_built_in_run_file_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.current_dir(folder.path()).args(["train", "--config", "quickstart.toml"]);
    for change in ["train.updates=2", "grpo.prompts_per_update=2", "eval.limit=4"] {
        command.args(["--set", change]);
    }
    succeed(command);
    let run = folder.path().join("runs/quickstart");
    let evaluations = lines(&run.join("evaluations.jsonl"));
    assert_eq!(evaluations.len(), 2, "before and after");
    assert!(evaluations.iter().all(|line| line["summary"]["n"] == 4));
    let rewarded = lines(&run.join("completions.jsonl"));
    assert!(rewarded.iter().any(|line| line["reward"].as_f64() > Some(0.0)));
    assert!(run.join("checkpoints/step-000002/tokenizer.json").is_file());
}

#[test]
fn the_answer_alone_is_taught_unless_the_prompt_is_asked_for_too() {
    let folder = tempfile::tempdir().unwrap();
    let loss = |taught: &str| {
        let (out, taught) = (folder.path().join(taught), format!("sft.train_on_prompt={taught}"));
        let mut command = train(Path::new("quickstart.toml"), &out, &["--set", &taught]);
        for change in ["method=sft", "train.updates=1", "eval.limit=1"] {
            command.args(["--set", change]);
        }
        succeed(command);
        lines(&out.join("metrics.jsonl"))[0]["loss"].as_f64().unwrap()
    };
    // The built-in model has learned answers and no prompt: it is surprised by every word of one.
    let (answer, with_prompt) = (loss("false"), loss("true"));
    assert!(answer < 1.0 && with_prompt > 3.0, "{answer} {with_prompt}");
}
