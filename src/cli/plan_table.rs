//! A run's plan for people, one figure a line.
//! Not here: the plan (`train::plan`).

use std::time::Duration;

use crate::config::RunConfig;
use crate::progress::spell;
use crate::train::plan::Plan;
use crate::train::plan::sparkline::sparkline;

type Row = (&'static str, String);

/// The plan as a table.
pub(super) fn plan_table(config: &RunConfig, plan: &Plan) -> String {
    let mut rows = run_rows(config, plan);
    if let [first, .., last] = plan.beta.as_slice() {
        let least = plan.beta.iter().copied().fold(f64::INFINITY, f64::min);
        let curve = sparkline(&plan.beta);
        let ends = format!("from {first:.4}, least {least:.4}, to {last:.4}");
        rows.push(("beta(s)", format!("{curve} {ends}")));
    }
    rows.extend(memory_rows(plan));
    if let Some(seconds) = plan.seconds_per_update {
        let all = Duration::try_from_secs_f64(seconds * plan.updates as f64);
        let all = spell(all.unwrap_or(Duration::MAX));
        let each = format!("about {seconds:.1} s an update on this machine");
        rows.push(("time", format!("{each}, {all} in all, completions at full length")));
    }
    let mut lines: Vec<String> =
        rows.iter().map(|(name, value)| format!("{name:<14} {value}")).collect();
    lines.extend(plan.shortage().map(|shortage| format!("warning: {shortage}")));
    lines.join("\n")
}

fn run_rows(config: &RunConfig, plan: &Plan) -> Vec<Row> {
    let work = &plan.workload;
    let millions = |n: u64| format!("{:.1} million", n as f64 / 1e6);
    let method = config.method.name();
    let data = config.data.task.as_deref().or(config.data.train.as_deref()).unwrap_or_default();
    let (model, dtype, device) = (&config.model.path, plan.dtype, &plan.device);
    let trained = millions(plan.trained_parameters);
    let seen = if work.is_measured { "read" } else { "not available: as published, at the limits" };
    let packed: usize = work.streams.iter().map(|stream| stream.tokens).sum();
    let (prompt, patches, completion) = (work.prompt_tokens, work.patches, work.completion_tokens);
    vec![
        ("run", format!("{method} on {data}: {model} in {dtype} on {device}")),
        ("parameters", format!("{}, {trained} trained", millions(plan.parameters))),
        ("rows", format!("{} ({seen})", work.rows)),
        (
            "updates",
            format!(
                "{} of {} prompts x {} completions",
                plan.updates, work.prompts, work.group_size
            ),
        ),
        (
            "tokens",
            format!(
                "prompt at most {prompt} ({patches} patches), completion at most {completion}; \
                 {packed} an update in {} packed streams",
                work.streams.len()
            ),
        ),
    ]
}

fn memory_rows(plan: &Plan) -> Vec<Row> {
    let Plan { memory, available_bytes, .. } = plan;
    let gigabytes = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let parts = [
        ("  weights", memory.weights),
        ("  gradients", memory.gradients),
        ("  optimizer", memory.optimizer),
        ("  reference", memory.reference),
        ("  activations", memory.activations),
        ("  logits", memory.logits),
        ("  rollout", memory.rollout),
        ("  pictures", memory.pictures),
        ("  program", memory.program),
    ];
    let available = available_bytes
        .map_or(String::new(), |bytes| format!(" of {} that are available", gigabytes(bytes)));
    let total =
        gigabytes(memory.total) + " at the peak" + &available + "; rollout and gradients in turn";
    let mut rows = vec![("memory", total)];
    rows.extend(parts.map(|(name, bytes)| (name, gigabytes(bytes))));
    rows
}
