//! A run's folder as training would have left it, of any size, without training.
//! Not here: what is done with it (`report`, `page`, `watch`); runs that were really made (`runs`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) updates: u64,
    pub(crate) prompts: u64,
    pub(crate) completions: u64,
    /// Rows that prompts are drawn from.
    pub(crate) rows: u64,
    /// Words of a completion besides its answer.
    pub(crate) words: usize,
}

/// Large enough for each filter to leave something and to leave something out.
pub(crate) const SMALL: Size = Size { updates: 12, prompts: 3, completions: 4, rows: 7, words: 6 };

pub(crate) fn metrics(update: u64) -> Value {
    let reward = 1.5 - 1.0 / (1.0 + update as f64 / 4.0);
    json!({
        "update": update, "lr": 1e-6, "loss": 0.01 * reward, "reward": reward, "accuracy_reward": reward / 2.0,
        "format_reward": 0.5, "beta": 0.04, "kl": 0.001 * update as f64, "entropy": 0.7, "completion_length": 20.0,
        "grad_norm": 1.0, "zero_signal_fraction": 0.25, "truncated_fraction": 0.0, "tokens_per_s": 9.0,
        "s_rollout": 1.0, "s_reference": 1.0, "s_policy": 1.0, "s_optimizer": 1.0, "s_total": 4.0,
        "peak_bytes": 536_870_912_u64,
    })
}

/// The rollouts of an update: the later it is, the more are right; every fifth update has a group without a signal.
pub(crate) fn rollouts(size: Size, update: u64) -> Vec<Value> {
    let mut records = Vec::new();
    for prompt in 0..size.prompts {
        let row = (update * size.prompts + prompt) % size.rows;
        for completion in 0..size.completions {
            // Nothing like chance, but spread out.
            let draw = (update * 7919 + prompt * 104_729 + completion * 1_299_709) % 1000;
            let is_silent = update.is_multiple_of(5) && prompt == 0;
            let is_right = !is_silent && draw * size.updates < 1000 * update;
            let answer = row + u64::from(!is_right);
            let accuracy = f64::from(u8::from(is_right));
            let mut text = String::from("<think> ");
            for word in 0..size.words as u64 {
                let pick = (draw + word * word + update) % 9;
                let words = ["a", "red", "circle", "left", "of", "two", "blue", "squares", "near"];
                write!(text, "{} ", words[pick as usize]).unwrap();
            }
            write!(text, "</think> <answer> {answer} </answer>").unwrap();
            records.push(json!({
                "update": update, "prompt_id": format!("synth-vc/train/{row}"), "completion_idx": completion,
                "problem": format!("How many items of kind {row} are in the image?"),
                "solution": format!("<answer> {row} </answer>"), "completion": text,
                "answer": answer.to_string(), "accuracy_reward": accuracy, "format_reward": 1.0,
                "reward": accuracy + 0.5, "advantage": accuracy - 0.5, "n_tokens": size.words + 12,
                "is_truncated": update.is_multiple_of(4) && completion == 3,
            }));
        }
    }
    records
}

pub(crate) fn evaluation(update: u64, correct: usize) -> Value {
    let accuracy = correct as f64 / 100.0;
    let ci95 = [accuracy - 0.09, accuracy + 0.09];
    let tally = json!({"correct": correct, "accuracy": accuracy, "ci95": ci95});
    json!({"update": update, "summary": {
        "task": "synth-vc", "n": 100, "rule": "answer-tag", "correct": correct, "accuracy": accuracy, "ci95": ci95,
        "answer_tag": tally, "ungraded": 0, "format_rate": 1.0, "truncated_fraction": 0.0, "completion_length": 20.0,
    }})
}

/// Records as a file has them.
pub(crate) fn lines(records: &[Value]) -> String {
    let lines: Vec<String> = records.iter().map(|record| format!("{record}\n")).collect();
    lines.concat()
}

/// Writes a run's folder; its rollouts.
pub(crate) fn run(path: &Path, seed: u64, size: Size) -> (PathBuf, Vec<Value>) {
    std::fs::create_dir_all(path).unwrap();
    let updates = size.updates;
    let config =
        format!("[data]\ntask = \"synth-vc\"\n[train]\nupdates = {updates}\nseed = {seed}\n");
    std::fs::write(path.join("config.toml"), config).unwrap();
    let all: Vec<Value> = (1..=updates).map(metrics).collect();
    std::fs::write(path.join("metrics.jsonl"), lines(&all)).unwrap();
    let ends = [evaluation(0, 22), evaluation(updates, 47)];
    std::fs::write(path.join("evaluations.jsonl"), lines(&ends)).unwrap();
    let completions: Vec<Value> = (1..=updates).flat_map(|update| rollouts(size, update)).collect();
    std::fs::write(path.join("completions.jsonl"), lines(&completions)).unwrap();
    (path.to_owned(), completions)
}

/// Data of a page under a name, unpacked.
pub(crate) fn data_of(page: &str, id: &str) -> Value {
    let begin = format!("<script type=\"text/plain\" id=\"{id}\">");
    let packed = page.split_once(&begin).unwrap().1.split_once("</script>").unwrap().0;
    let gzip = STANDARD.decode(packed).unwrap();
    serde_json::from_reader(flate2::read::GzDecoder::new(gzip.as_slice())).unwrap()
}
