//! Progress of a run and of an evaluation without a terminal.
//! Not here: how lines are made and when they come (`othink::progress`).

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use candle_core::{DType, Device};
use othink::config::RunConfig;
use othink::data::tasks::resolved;
use othink::eval::questions::evaluation_questions;
use othink::experiment::measure::{MeasuredModel, measure};
use othink::interrupt::Interrupt;
use othink::model::source;
use othink::progress::ProgressDisplay;
use othink::train::run::{TrainOptions, train};
use serde_json::Value;

use crate::runs::lines;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// A display that shows the current stage a thousand times a second rather than every half minute.
    fn display(&self) -> ProgressDisplay {
        ProgressDisplay::lines(self.clone(), Duration::from_millis(1))
    }

    /// For each beginning, a line with it.
    fn assert_has(&self, beginnings: &[&str]) {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        for beginning in beginnings {
            assert!(text.lines().any(|line| line.starts_with(beginning)), "{beginning}: {text}");
        }
    }
}

/// The quickstart, but a single update of it.
fn config() -> RunConfig {
    let changes = ["train.updates=1", "grpo.prompts_per_update=4", "eval.limit=20"];
    RunConfig::load("quickstart.toml", &changes.map(str::to_owned)).unwrap()
}

#[test]
fn a_run_names_its_stages_and_how_far_they_are() {
    let (folder, written) = (tempfile::tempdir().unwrap(), Written::default());
    let out = folder.path().join("run");
    let options = TrainOptions { out, resume: None, is_forced: false };
    train(&config(), &options, &Interrupt::new(), &mut written.display()).unwrap();
    written.assert_has(&[
        "opening the model and the data, ",
        "after update 0/1: evaluation, 0 of 20 answers, ",
        "update 1/1: rollout, ",
        "update 1/1: policy, ",
        "after update 1/1: evaluation, ",
    ]);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let rollout = text.lines().rfind(|line| line.contains("rollout, ")).unwrap();
    assert!(rollout.contains(" tokens, ") && !rollout.contains(" 0 tokens"), "{rollout}");
    assert!(
        !text.lines().any(|line| line.contains(": policy, ") && line.contains("tokens")),
        "{text}"
    );
    assert!(!text.contains("old policy"), "the policy that sampled is the policy: {text}");
    let counts = text.lines().filter_map(|line| {
        line.strip_prefix("after update 1/1: evaluation, ")?.split_once(" of 20 answers, ")
    });
    let counts: Vec<i64> = counts.map(|(count, _)| count.parse().unwrap()).collect();
    assert!(counts.iter().all(|count| (0..=20).contains(count)), "{counts:?}");
    assert!(counts.iter().any(|count| *count > 0), "{counts:?}");
    for record in lines(&options.out.join("evaluations.jsonl")) {
        let percent = |value: &Value| format!("{:.1}", 100.0 * value.as_f64().unwrap());
        let [low, high] = [0, 1].map(|end| percent(&record["summary"]["ci95"][end]));
        let note = format!(
            "evaluation after {}: synth-vc accuracy {}% ({low} to {high}), format {}%, 20 questions",
            if record["update"] == 1 { "1 update" } else { "0 updates" },
            percent(&record["summary"]["accuracy"]),
            percent(&record["summary"]["format_rate"]),
        );
        assert!(text.contains(&note), "{note}: {text}");
    }
}

#[test]
fn an_evaluation_says_how_many_answers_it_has() {
    let written = Written::default();
    let asked = evaluation_questions(&resolved(&config()).unwrap()).unwrap();
    let files = source::resolve("tiny").unwrap();
    let model = MeasuredModel { files: &files, dtype: DType::F32, device: &Device::Cpu };
    measure(model, &asked, None, &Interrupt::new(), &written.display()).unwrap();
    written.assert_has(&["opening the model, ", "synth-vc, 0 of 20 answers, 0 right, "]);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let is_later = |line: &str| line.starts_with("synth-vc, ") && !line.contains(", 0 of 20");
    assert!(text.lines().any(is_later), "{text}");
}
