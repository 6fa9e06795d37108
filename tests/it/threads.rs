//! Which threads a run on the CPU computes with.
//! Not here: that numbers do not depend on how many there are (`ops`, `optim`).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A run of the tiny model that would go on for minutes, with so many threads.
fn long_run(folder: &Path, threads: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(["train", "--config", "quickstart.toml", "--out", "run"]);
    for change in ["eval.before_training=false", "grpo.prompts_per_update=2"] {
        command.args(["--set", change]);
    }
    command.env("RAYON_NUM_THREADS", threads).current_dir(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The names of a process's threads while it trains.
fn names_while_training(folder: &Path, threads: &str) -> Vec<String> {
    let mut run = long_run(folder, threads);
    let (started, metrics) = (Instant::now(), folder.join("run/metrics.jsonl"));
    while std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 2 {
        assert!(run.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(started.elapsed() < Duration::from_mins(2), "no progress within two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    let tasks = std::fs::read_dir(format!("/proc/{}/task", run.id())).unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    let names = names.map(|name| name.unwrap().trim().to_owned()).collect();
    run.kill().unwrap();
    run.wait().unwrap();
    names
}

#[test]
fn the_commands_own_thread_computes() {
    for (threads, of_rayon) in [("3", 2), ("1", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let names = names_while_training(folder.path(), threads);
        // The process's first thread waits for the command's; alone, that one must not be what it waits for.
        let expected = 2 + of_rayon;
        let found = names.iter().filter(|name| *name == "othink").count();
        assert_eq!(found, expected, "{threads} threads: {names:?}");
    }
}

#[test]
fn candles_threads_are_told_not_to_spin() {
    const VARIABLE: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
    let environment = |given: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        command.arg("env").env_remove(VARIABLE).envs(given.map(|given| (VARIABLE, given)));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(environment(None).contains(&format!("{VARIABLE}=1")));
    assert!(environment(Some("77")).contains(&format!("{VARIABLE}=77")), "a user's own is kept");
}
