//! A run's plan for people, one figure a line.
//! Not here: the plan (`train::plan`), the lines of its time (`time_lines`).

use super::time_lines::time_lines;
use crate::config::RunConfig;
use crate::printable::count;
use crate::train::plan::Plan;
use crate::train::plan::memory::Memory;
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
    rows.push(disk_row(plan));
    let mut lines: Vec<String> =
        rows.iter().map(|(name, value)| format!("{name:<14} {value}")).collect();
    lines.extend(plan.time.iter().flat_map(time_lines));
    // On a GPU the ladder says more.
    let shortage = plan.shortage().filter(|_| plan.host.is_none());
    let warnings = shortage.into_iter().chain(plan.warnings());
    lines.extend(warnings.map(|warning| format!("warning: {warning}")));
    lines.extend(ladder_lines(plan));
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
                "{} of {} x {}",
                plan.updates,
                count(work.prompts, "prompt"),
                count(work.group_size, "completion")
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

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

fn memory_rows(plan: &Plan) -> Vec<Row> {
    let Plan { memory, available_bytes, host, .. } = plan;
    let available = match (available_bytes, host) {
        (Some(bytes), _) => format!(" of {} that are available", gigabytes(*bytes)),
        (None, Some(_)) => "; what is available is not known".to_owned(),
        (None, None) => String::new(),
    };
    let total = gigabytes(memory.total) + " at the peak" + &available;
    let (total, parts) = match host {
        None => (total, cpu_parts(memory)),
        Some(_) => (total, gpu_parts(memory)),
    };
    let mut rows = vec![("memory", total)];
    rows.extend(parts.into_iter().map(|(name, bytes, note)| (name, gigabytes(bytes) + note)));
    rows.extend(host.map(|host| {
        let of = host.available_bytes.map(|bytes| format!(" of {}", gigabytes(bytes)));
        ("host", gigabytes(host.needed_bytes) + " of the host's memory" + &of.unwrap_or_default())
    }));
    rows
}

type Part = (&'static str, u64, &'static str);

fn cpu_parts(memory: &Memory) -> Vec<Part> {
    let parts = vec![
        ("  weights", memory.weights, ""),
        ("  gradients", memory.gradients, ""),
        ("  optimizer", memory.optimizer, ""),
        ("  reference", memory.reference, ""),
        ("  activations", memory.activations, ""),
        ("  logits", memory.logits, ""),
        ("  temporaries", memory.temporaries, ", in turn with logits"),
        ("  rollout", memory.rollout, ", in turn with activations, logits and temporaries"),
        ("  pictures", memory.pictures, ""),
        ("  program", memory.program, ""),
    ];
    // Kernels have none.
    let is_held = |part: &Part| part.0 != "  temporaries" || part.1 > 0;
    parts.into_iter().filter(is_held).collect()
}

/// In two groups: what is always there, and what learning holds or rollouts.
fn gpu_parts(memory: &Memory) -> Vec<Part> {
    vec![
        ("  driver", memory.driver, ""),
        ("  weights", memory.weights, ""),
        ("  gradients", memory.gradients, ""),
        ("  optimizer", memory.optimizer, ""),
        ("  activations", memory.activations, ""),
        ("  pictures", memory.pictures, ""),
        ("  logits", memory.logits, ""),
        ("  temporaries", memory.temporaries, ", in turn with logits"),
        ("  rollout", memory.rollout, ", in turn with all from activations on"),
    ]
}

fn disk_row(plan: &Plan) -> Row {
    let disk = &plan.disk;
    let free = disk.available_bytes.map(|bytes| format!(" of {} that are free", gigabytes(bytes)));
    let (all, each) = (gigabytes(disk.needed_bytes), gigabytes(disk.checkpoint_bytes));
    ("disk", format!("{all} for checkpoints of {each}{}", free.unwrap_or_default()))
}

/// Whether the run fits into the GPU, and what to change where it does not.
fn ladder_lines(plan: &Plan) -> Vec<String> {
    let (Some(fits), Some(_)) = (plan.fits, &plan.host) else { return Vec::new() };
    if fits {
        return vec!["It fits.".to_owned()];
    }
    let mut lines =
        vec!["It does not fit. What needs less, each on top of those above it:".to_owned()];
    let width = plan.remedies.iter().map(|remedy| remedy.setting.len()).max().unwrap_or(0);
    lines.extend(plan.remedies.iter().map(|remedy| {
        let (setting, bytes) = (&remedy.setting, gigabytes(remedy.bytes));
        format!("  {setting:<width$}  {bytes:>9}  {}", remedy.cost)
    }));
    lines.extend(
        plan.enough
            .as_ref()
            .map(|enough| format!("It fits with {}: {}.", enough.flags(), gigabytes(enough.bytes))),
    );
    let short =
        plan.shortfall.map(|short| format!("Nothing of this is enough: {}.", short.words()));
    lines.extend(short);
    lines
}
