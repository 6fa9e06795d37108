//! Runs and answers on an emulated GPU whose memory is not enough: what they say, and that what they say is true.
//! Not here: which settings are named (unit tests of `train::plan::relief`), runs that are refused (`plan`).

use std::path::Path;
use std::process::{Command, Output};

/// In bf16, two updates with a checkpoint after each; completions are all as long as the plan assumes.
const RUN: &str = "train --config quickstart.toml --device cuda --out run --quiet --set train.updates=2 \
                   --set train.checkpoint_every=1 --set grpo.prompts_per_update=2 --set rollout.max_new_tokens=24 \
                   --set rollout.min_new_tokens=24 --set eval.before_training=false --set eval.after_training=false";

/// On a device of that memory.
fn on_device(folder: &Path, memory: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(words).current_dir(folder).env("EMU_MEMORY", memory);
    command.env("EMU_COUNTERS", folder.join("counters.json")).env_remove("EMU_GUARD");
    command.env("RUST_BACKTRACE", "0").output().unwrap()
}

fn run(folder: &Path, memory: &str, more: &[&str]) -> Output {
    let words: Vec<&str> = RUN.split_whitespace().chain(more.iter().copied()).collect();
    on_device(folder, memory, &words)
}

/// The errors of a run that failed with code 1.
fn failed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    errors
}

/// Standard error of a command that failed with code 1 for want of memory, from its error on.
fn told(output: &Output) -> String {
    let errors = failed(output);
    assert!(errors.contains("\n  caused by: ") && errors.contains("OUT_OF_MEMORY"), "{errors}");
    let start = errors.find("error: ").unwrap();
    errors[start..].to_owned()
}

/// The settings after each `hint: --set`, as flags with `--resume` where the run may be continued with them.
fn ways_on(told: &str) -> Vec<Vec<&str>> {
    let lines = told.lines().filter(|line| line.starts_with("hint: --set "));
    let flags = lines.map(|line| {
        let (flags, remark) = line["hint: ".len()..].split_once(" (needs about ").unwrap();
        let flags = flags.split(' ');
        let is_new = remark.ends_with(", in a new run with another --out)");
        flags.chain((!is_new).then_some("--resume")).collect()
    });
    flags.collect()
}

/// Whether the tests' device is an emulated one; a real one has the memory that it has.
fn is_emulated() -> bool {
    if !std::env::var("OTHINK_TEST_DEVICE").is_ok_and(|device| device.starts_with("cuda")) {
        return false;
    }
    let folder = tempfile::tempdir().unwrap();
    let ask =
        ["infer", "--model", "tiny", "--prompt", "Hi", "--max-new-tokens", "1", "--device", "cuda"];
    on_device(folder.path(), "1G", &ask);
    folder.path().join("counters.json").exists()
}

/// A folder with a run that has made the first of its two updates.
fn begun() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let whole = run(folder.path(), "1G", &[]);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    std::fs::remove_dir_all(folder.path().join("run/checkpoints/step-000002")).unwrap();
    std::fs::remove_file(folder.path().join("run/finished")).unwrap();
    folder
}

#[test]
fn a_run_that_ends_for_want_of_memory_goes_on_with_any_of_the_settings_that_it_names() {
    if !is_emulated() {
        return;
    }
    let begun = begun();
    for (memory, stage, n_ways) in [("97M", "policy", 3), ("92M", "rollout", 3)] {
        let out = run(begun.path(), memory, &["--resume", "--force"]);
        let told = told(&out);
        let first = format!("error: out of the GPU's memory: stage {stage}, update 2\n");
        assert!(told.starts_with(&first), "{told}");
        for part in [
            "\nthe card has ",
            "\nheld at its peak: weights 3 MB, gradients 6 MB, moments and master weights 19 MB, activations",
            "\nhint: the last checkpoint stands, run/checkpoints/step-000001; --resume continues from it",
        ] {
            assert!(told.contains(part), "{part:?} in {told}");
        }
        let ways_on = ways_on(&told);
        assert_eq!(ways_on.len(), n_ways, "{told}");
        for flags in ways_on {
            let copy = tempfile::tempdir().unwrap();
            if flags.contains(&"--resume") {
                copy_folder(&begun.path().join("run"), &copy.path().join("run"));
            }
            // Without force: the plan agrees.
            let output = run(copy.path(), memory, &flags);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{memory}, {flags:?}: {errors}");
        }
    }
}

#[test]
fn weights_without_room_are_told_as_what_is_to_be_loaded_and_leave_no_folder() {
    if !is_emulated() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let told = told(&run(folder.path(), "50M", &["--force"]));
    for part in [
        "error: out of the GPU's memory: stage loading weights\n",
        "\nto be loaded are weights 3 MB, gradients 6 MB",
        "\nhint: nothing was written; start again, but no setting is enough: at least ",
    ] {
        assert!(told.contains(part), "{part:?} in {told}");
    }
    assert!(!folder.path().join("run").exists());
}

#[test]
fn answers_without_room_are_told_with_what_needs_less() {
    if !is_emulated() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ask = "eval --task synth-vc --limit 16 --max-new-tokens 4 --device cuda --dtype f32";
    let words: Vec<&str> = ask.split(' ').collect();
    let decoding = told(&on_device(folder.path(), "40M", &words));
    for part in [
        "error: out of the GPU's memory while decoding answers\nthe card has 42 MB: ",
        "\nof its own, 6 MB are the model's weights\n",
        "\nhint: fewer answers at a time (--max-batch, ",
    ] {
        assert!(decoding.contains(part), "{part:?} in {decoding}");
    }
    let fewer = on_device(folder.path(), "40M", &[&words[..], &["--max-batch", "1"]].concat());
    assert!(fewer.status.success(), "{}", String::from_utf8_lossy(&fewer.stderr));
    let loading = told(&on_device(folder.path(), "34M", &words));
    assert!(loading.contains("out of the GPU's memory while loading weights\n"), "{loading}");
    let ask = "infer --model tiny --prompt Hi --max-new-tokens 2 --device cuda --dtype f32";
    let answer = told(&on_device(folder.path(), "34M", &ask.split(' ').collect::<Vec<_>>()));
    assert!(
        answer.starts_with("error: out of the GPU's memory while loading weights\n"),
        "{answer}"
    );
    assert!(answer.contains("\nhint: fewer pixels (--max-pixels), "), "{answer}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
