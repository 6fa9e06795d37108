//! `othink train` as a user runs it: what it writes, when it saves and measures, resumption after a kill.
//! Not here: the numbers of an update (`training_parity`), what it warns of and stops at (`told`), being asked to end
//! (`signals`), a run file's errors (`cli`).
//! Longer than most because its tests share the runs that they compare.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use candle_core::Device;

use crate::runs::{config, difference, last_checkpoint, lines, train};

pub(crate) fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Everything that a run leaves, to the bit, but for times.
pub(crate) fn assert_same_run(a: &Path, b: &Path) {
    assert_same_run_but(&[], a, b);
}

/// As [`assert_same_run`], without some fields of `metrics.jsonl`.
pub(crate) fn assert_same_run_but(fields: &[&str], a: &Path, b: &Path) {
    assert_eq!(difference(fields, a, b), None);
}

/// Kills a run that has far to go, once its metrics have more lines than `n`, at whatever it is doing.
#[cfg(unix)]
fn kill_beyond(n: usize, mut command: Command, run: &Path) {
    use std::os::unix::process::ExitStatusExt as _;
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(2);
    let n_lines = || {
        std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
    };
    while n_lines() <= n {
        assert!(Instant::now() < deadline, "no update was made");
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(Duration::from_millis(3));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "the run ended before it was killed");
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_again_and_again_equals_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--set", "train.updates=30", "--set", "train.checkpoint_every=4"];
    for method in ["grpo-d", "sft"] {
        let config = config(folder.path(), method);
        let whole = folder.path().join(format!("{method}-whole"));
        let killed = folder.path().join(format!("{method}-killed"));
        succeed(train(&config, &whole, &more));
        let resume = [&more[..], &["--resume"]].concat();
        // Before the first checkpoint, and twice between later ones, each time at an arbitrary point after an update.
        kill_beyond(0, train(&config, &killed, &more), &killed);
        kill_beyond(6, train(&config, &killed, &resume), &killed);
        kill_beyond(13, train(&config, &killed, &resume), &killed);
        succeed(train(&config, &killed, &resume));
        assert_same_run(&whole, &killed);
    }
}

/// The largest change of a parameter between two folders with a model.
fn largest_move(from: &Path, to: &Path) -> f32 {
    let load = |folder: &Path| {
        let path = folder.join("model.safetensors");
        candle_core::safetensors::load(path, &Device::Cpu).unwrap()
    };
    let (before, after) = (load(from), load(to));
    let moved = after.iter().map(|(name, tensor)| {
        let change = (tensor - &before[name]).unwrap().abs().unwrap().flatten_all().unwrap();
        change.max(0).unwrap().to_scalar::<f32>().unwrap()
    });
    moved.fold(0.0, f32::max)
}

#[test]
fn rewards_that_differ_move_the_policy_and_equal_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo-d");
    let base = crate::golden::folder().join("policy");
    // No KL term, which moves the policy too once it has left the reference.
    let once = ["--set", "train.updates=1", "--set", "kl.schedule=zero", "--set"];
    let run = |name: &str, weight: &str| {
        let out = folder.path().join(name);
        succeed(train(&config, &out, &[&once[..], &[weight]].concat()));
        let metrics = lines(&out.join("metrics.jsonl")).remove(0);
        (metrics, largest_move(&base, &out.join(last_checkpoint(&out))))
    };
    let (metrics, moved) = run("differ", "reward.weights.length_penalty=1");
    assert!(metrics["zero_signal_fraction"].as_f64() < Some(1.0), "{metrics}");
    assert!(metrics["grad_norm"].as_f64() > Some(1.0), "{metrics}");
    // AdamW's first step is the rate, 1e-2, wherever there is a gradient.
    assert!((moved - 1e-2).abs() < 1e-4, "{moved}");
    let (metrics, moved) = run("equal", "reward.weights.length_penalty=0");
    assert_eq!(metrics["zero_signal_fraction"], 1.0, "{metrics}");
    assert_eq!((metrics["grad_norm"].as_f64(), moved), (Some(0.0), 0.0), "{metrics}");
}

/// A run's checkpoints and the updates after which it measured itself.
fn saved_and_measured(run: &Path) -> (Vec<String>, Vec<u64>) {
    let names = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    let path = run.join("evaluations.jsonl");
    let evaluations = if path.exists() { lines(&path) } else { Vec::new() };
    (names, evaluations.iter().map(|line| line["update"].as_u64().unwrap()).collect())
}

#[test]
fn a_run_saves_and_measures_itself_when_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, method: &str, changes: &[&str]| {
        let (config, out) = (config(folder.path(), method), folder.path().join(name));
        let mut command = train(&config, &out, &[]);
        for change in ["eval.limit=1", "eval.max_new_tokens=2"].iter().chain(changes) {
            command.args(["--set", change]);
        }
        succeed(command);
        let (saved, measured) = saved_and_measured(&out);
        let optimizer = out.join("checkpoints").join(saved.last().unwrap()).join("trainer");
        (saved.join(" "), measured, optimizer.join("optimizer.safetensors").exists())
    };
    let (saved, measured, has_optimizer) = run(
        "often",
        "sft",
        &[
            "train.updates=7",
            "train.checkpoint_every=3",
            "train.keep=2",
            "train.eval_every=2",
            "eval.before_training=true",
        ],
    );
    assert_eq!((saved.as_str(), measured), ("step-000006 step-000007", vec![0, 2, 4, 6]));
    assert!(has_optimizer);
    let (saved, measured, has_optimizer) = run(
        "seldom",
        "sft",
        &[
            "train.updates=5",
            "train.checkpoint_every=0",
            "train.save_optimizer=false",
            "eval.after_training=true",
        ],
    );
    assert_eq!((saved.as_str(), measured), ("step-000005", vec![5]));
    assert!(!has_optimizer);
    // The first of equal evaluations is the best: it is saved for that, and stays while others go.
    let best = [
        "train.updates=7",
        "train.checkpoint_every=3",
        "train.keep=1",
        "train.keep_best=true",
        "train.eval_every=2",
    ];
    let (saved, measured, _) = run("best", "sft", &best);
    assert_eq!((saved.as_str(), measured), ("step-000002 step-000007", vec![2, 4, 6]));
    let best = std::fs::read_to_string(folder.path().join("best/best")).unwrap();
    assert_eq!(best, "step-000002\n");
    // Batches of rollouts end at 2, 4 and 6: what is due at 3 comes after 4.
    let changes = ["train.checkpoint_every=3", "train.eval_every=5"];
    let (saved, measured, _) = run("batches", "grpo-d", &changes);
    assert_eq!((saved.as_str(), measured), ("step-000004 step-000006", vec![6]));
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

    let taught = folder.path().join("taught");
    succeed(train(&crate::runs::config(folder.path(), "sft"), &taught, &[]));
    for out in [&out, &taught] {
        for line in lines(&out.join("metrics.jsonl")) {
            let n_packed =
                line["tokens_per_s"].as_f64().unwrap() * line["s_total"].as_f64().unwrap();
            assert!(n_packed > 100.0, "two prompts with their completions: {line}");
            assert!((n_packed - n_packed.round()).abs() < 1e-6, "{line}");
        }
    }
}

/// A step of 1e-4 is lost in a bf16 weight of 1, but not in its f32 master copy, and not where it is rounded by chance.
#[test]
fn a_bf16_run_moves_and_resumes_like_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let mut last = Vec::new();
    for masters in ["f32", "bf16"] {
        let masters_key = format!("optim.masters={masters}");
        let bf16 = ["--set", "model.dtype=bf16", "--set", "optim.lr=1e-4", "--set", &masters_key];
        let [whole, halved] =
            ["whole", "halved"].map(|name| folder.path().join(format!("{name}-{masters}")));
        succeed(train(&config, &whole, &bf16));
        let losses: Vec<f64> = lines(&whole.join("metrics.jsonl"))
            .iter()
            .map(|line| line["loss"].as_f64().unwrap())
            .collect();
        assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
        let saved = |update, name| whole.join(format!("checkpoints/step-{update:06}/{name}"));
        let weights = |update| std::fs::read(saved(update, "model.safetensors")).unwrap();
        assert!(weights(2) != weights(6));
        last.push(weights(6));
        let has_masters = saved(6, "trainer/master_weights.safetensors").exists();
        assert_eq!(has_masters, masters == "f32");
        succeed(train(&config, &halved, &bf16));
        give_up_later_checkpoints(&halved);
        succeed(train(&config, &halved, &[&bf16[..], &["--resume"]].concat()));
        assert_same_run(&whole, &halved);
    }
    assert!(last[0] != last[1]);
}

/// On a GPU, for which `OTHINK_TEST_DEVICE=cuda` asks; on the CPU it has no effect, and a run may be resumed with another value
/// all the same.
#[test]
fn a_run_whose_optimizer_is_on_the_host_is_the_run_whose_optimizer_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let device = std::env::var("OTHINK_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    for masters in ["f32", "bf16"] {
        let masters_key = format!("optim.masters={masters}");
        let more = ["--device", &device, "--set", "model.dtype=bf16", "--set", &masters_key];
        let offload = ["--set", "optim.offload=true"];
        let [beside, host] =
            ["beside", "host"].map(|name| folder.path().join(format!("{name}-{masters}")));
        succeed(train(&config, &beside, &more));
        succeed(train(&config, &host, &[&more[..], &offload].concat()));
        assert_same_run(&beside, &host);
        give_up_later_checkpoints(&host);
        succeed(train(&config, &host, &[&more[..], &offload, &["--resume"]].concat()));
        assert_same_run(&beside, &host);
        give_up_later_checkpoints(&host);
        succeed(train(&config, &host, &[&more[..], &["--resume"]].concat()));
        assert_same_run(&beside, &host);
    }
}

/// A model in f32 has gradients in f32 whatever the run file says, which is said.
#[test]
fn gradients_added_up_in_bf16_are_those_of_f32_but_for_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let device = std::env::var("OTHINK_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let run = |dtype: &str, gradients: &str| {
        let out = folder.path().join(format!("{dtype}-{gradients}"));
        let set = [format!("model.dtype={dtype}"), format!("optim.gradients={gradients}")];
        let more = ["--device", &device, "--set", &set[0], "--set", &set[1]];
        let output = succeed(train(&config, &out, &more));
        let said = String::from_utf8(output.stderr).unwrap();
        let is_unread =
            said.contains("optim.gradients") && said.contains("the model is not in bf16");
        assert_eq!(is_unread, dtype == "f32", "{said}");
        let of = |key: &str| -> Vec<f64> {
            let records = lines(&out.join("metrics.jsonl"));
            records.iter().map(|line| line[key].as_f64().unwrap()).collect()
        };
        (of("loss"), of("grad_norm"))
    };
    let ((loss, norm), (rounded_loss, rounded_norm)) = (run("bf16", "f32"), run("bf16", "bf16"));
    assert_eq!(loss[0].to_bits(), rounded_loss[0].to_bits(), "nothing has been learned yet");
    assert_ne!(norm, rounded_norm);
    for (a, b) in norm.iter().zip(&rounded_norm).chain(loss.iter().zip(&rounded_loss)) {
        assert!((a - b).abs() < 0.03 * a, "{norm:?} {rounded_norm:?} {loss:?} {rounded_loss:?}");
    }
    assert_eq!(run("f32", "f32"), run("f32", "bf16"));
}

/// Leaves a run of six updates where it was after two.
fn give_up_later_checkpoints(run: &Path) {
    for update in ["step-000004", "step-000006"] {
        std::fs::remove_dir_all(run.join("checkpoints").join(update)).unwrap();
    }
}

/// Micro-batches change the last bits of a sum; which completions decode beside each other changes them in bf16 alone.
#[test]
fn a_run_is_resumed_with_what_moves_its_last_bits_under_a_warning() {
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
            let warning = "tokens_per_micro_batch was 8192 and is now 1000: from here on";
            assert_eq!(said.matches(warning).count(), n_warnings, "{said}");
        }
        let neighbours = ["--set", "rollout.max_batch=3"];
        let output = succeed(train(&config, &out, &[&set[..], &smaller, &neighbours].concat()));
        let said = String::from_utf8(output.stderr).unwrap();
        let warning = "rollout.max_batch was 64 and is now 3: from here on";
        assert_eq!(said.contains(warning), dtype.ends_with("=bf16"), "{said}");
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
    let args = format!("args = [\"-c\", {QUARTER:?}]\n");
    text.extend(["[reward.command]\nprogram = \"sh\"\nweight = 2\n", &args]);
    std::fs::write(&config, text).unwrap();
    let out = folder.path().join("run");
    let weights = ["reward.weights.repetition_penalty=0.5", "reward.weights.length_penalty=0"];
    let more = ["--set", "train.updates=2", "--set", weights[0], "--set", weights[1]];
    succeed(train(&config, &out, &more));
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
    // The built-in model was trained on answers alone, so that a prompt's tokens have a high loss.
    let (answer, with_prompt) = (loss("false"), loss("true"));
    assert!(answer < 1.0 && with_prompt > 3.0, "{answer} {with_prompt}");
}
