//! Commands that receive Ctrl-C, or the signals of schedulers, containers and closing terminals.
//! Not here: being killed (`train`, `experiments`).

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The program with SIGHUP as `signals` of `env` says, whatever the tests were started with, such as `nohup`.
fn othink(folder: &Path, signals: &str, words: &[&str], errors: Stdio) -> Child {
    let mut command = Command::new("env");
    command.args([signals, env!("CARGO_BIN_EXE_othink")]).args(words).current_dir(folder);
    command.stdout(Stdio::null()).stderr(errors).spawn().unwrap()
}

const HEARD: &str = "--default-signal=HUP";
const IGNORED: &str = "--ignore-signal=HUP";

/// A run that would go on for minutes and reaches no checkpoint before its end.
fn long_run(folder: &Path, signals: &str, out: &str) -> Child {
    long_run_with(folder, signals, out, Stdio::null())
}

/// - `errors`: where what it says goes
fn long_run_with(folder: &Path, signals: &str, out: &str, errors: Stdio) -> Child {
    let model = format!("model.path='{}'", crate::golden::folder().join("policy").display());
    let mut words = vec!["train", "--config", "quickstart.toml", "--out", out, "--set", &model];
    for change in [
        "train.updates=5000",
        "train.checkpoint_every=0",
        "grpo.prompts_per_update=1",
        "grpo.group_size=2",
        "rollout.max_new_tokens=4",
        "eval.before_training=false",
    ] {
        words.extend(["--set", change]);
    }
    othink(folder, signals, &words, errors)
}

fn n_lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Waits until a file has more lines than `n`.
fn wait_for_lines(child: &mut Child, path: &Path, n: usize) {
    let started = Instant::now();
    while n_lines(path) <= n {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(started.elapsed() < Duration::from_mins(2), "no progress within two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Waits for the end of a process that would otherwise go on for minutes.
fn end(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > Duration::from_mins(1) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_signal_finishes_the_update_saves_and_exits_130() {
    let folder = tempfile::tempdir().unwrap();
    // A terminal that closes sends SIGHUP once by itself and once through its shell.
    for signals in [&["-INT"][..], &["-TERM"], &["-HUP"], &["-HUP", "-HUP", "-TERM"]] {
        let name = format!("run{}", signals.concat());
        let out = folder.path().join(&name);
        let mut child = long_run(folder.path(), HEARD, &name);
        wait_for_lines(&mut child, &out.join("metrics.jsonl"), 0);
        for signal in signals {
            send(&child, signal);
        }
        assert_eq!(end(&mut child).code(), Some(130), "{name}");
        let n_updates = n_lines(&out.join("metrics.jsonl"));
        assert!(out.join(format!("checkpoints/step-{n_updates:06}")).is_dir(), "{name}");
    }
}

#[test]
fn a_hangup_that_is_ignored_from_the_start_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("run/metrics.jsonl");
    let mut child = long_run(folder.path(), IGNORED, "run");
    wait_for_lines(&mut child, &metrics, 0);
    send(&child, "-HUP");
    let made = n_lines(&metrics);
    wait_for_lines(&mut child, &metrics, made + 2);
    send(&child, "-TERM");
    assert_eq!(end(&mut child).code(), Some(130));
}

#[test]
fn an_evaluation_keeps_what_it_has_answered() {
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("answers.jsonl.partial");
    for signal in ["-TERM", "-HUP"] {
        let before = n_lines(&partial);
        let words = ["eval", "--task", "synth-vc", "--samples", "8", "--out", "answers.jsonl"];
        let mut child = othink(folder.path(), HEARD, &words, Stdio::null());
        wait_for_lines(&mut child, &partial, before);
        send(&child, signal);
        assert_eq!(end(&mut child).code(), Some(130), "{signal}");
        let text = std::fs::read_to_string(&partial).unwrap();
        assert!(text.ends_with('\n') && text.lines().count() > before, "{signal}");
        assert!(!folder.path().join("answers.jsonl").exists());
    }
}

#[test]
fn a_run_whose_folder_is_moved_stops_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let errors = std::fs::File::create(folder.path().join("errors")).unwrap();
    let mut child = long_run_with(folder.path(), HEARD, "run", errors.into());
    let (run, moved) = (folder.path().join("run"), folder.path().join("moved"));
    wait_for_lines(&mut child, &run.join("metrics.jsonl"), 0);
    std::fs::rename(&run, &moved).unwrap();
    assert_eq!(end(&mut child).code(), Some(1));
    let told = std::fs::read_to_string(folder.path().join("errors")).unwrap();
    assert!(told.contains("the run's folder run was moved, removed or replaced"), "{told}");
    assert!(!run.exists(), "no second folder is begun");
}
