//! What a run says of itself before its first update: what is trained on what, what it takes, where it is written.
//! Not here: the plan in full (`cli::plan_table`), what a run says at its end (`closing`).

use std::path::Path;

use super::error::TrainError;
use super::evaluation::{Evaluation, trains_on};
use super::plan::Plan;
use super::setup::Setup;
use crate::config::{Method, RunConfig};
use crate::printable::{count, gigabytes};
use crate::program;

/// The lines, each a name and what there is to say.
///
/// - `config`: with its task's keys filled in
/// - `evaluation`: what the run measures itself on, if it does
/// - `run`: its folder
///
/// # Errors
/// The rows cannot be read.
pub(super) fn banner(
    config: &RunConfig,
    setup: &Setup,
    plan: &Plan,
    evaluation: Option<&Evaluation>,
    run: &Path,
) -> Result<String, TrainError> {
    let rows = [
        ("program", format!("othink {}", program::VERSION)),
        ("run", updates(config, setup.total_updates)),
        ("model", model(config, plan)),
        ("data", trains_on(config, setup, evaluation)?),
        ("measured", evaluation.map_or("never".to_owned(), |of| measured(config, of))),
        ("memory", memory(plan)),
        ("folder", run.display().to_string()),
    ];
    let lines: Vec<String> = rows.iter().map(|(name, text)| format!("{name:<9} {text}")).collect();
    Ok(lines.join("\n"))
}

fn updates(config: &RunConfig, total: u64) -> String {
    let (method, grpo) = (config.method.name(), &config.grpo);
    let updates = count(total, "update");
    let prompts = count(grpo.prompts_per_update, "prompt");
    match config.method {
        Method::Sft => format!("{method}, {updates} of {prompts}"),
        Method::Grpo | Method::GrpoD => {
            format!("{method}, {updates} of {prompts} x {}", count(grpo.group_size, "completion"))
        }
    }
}

fn model(config: &RunConfig, plan: &Plan) -> String {
    let millions = |n: u64| format!("{:.1}", n as f64 / 1e6);
    let (path, dtype, device) = (&config.model.path, plan.dtype, &plan.device);
    let (trained, all) = (millions(plan.trained_parameters), millions(plan.parameters));
    format!("{path}, {dtype} on {device}, {trained} of {all} million parameters trained")
}

fn measured(config: &RunConfig, evaluation: &Evaluation) -> String {
    let (eval, every) = (&config.eval, config.train.eval_every);
    let mut when = Vec::new();
    when.extend(eval.before_training.then(|| "before".to_owned()));
    when.extend((every > 0).then(|| format!("every {}", count(every, "update"))));
    when.extend(eval.after_training.then(|| "after".to_owned()));
    format!("{}: {}", evaluation.asked.phrase(), when.join(", "))
}

fn memory(plan: &Plan) -> String {
    let available = plan.available_bytes.map(|bytes| format!(" of {} available", gigabytes(bytes)));
    let host =
        plan.host.as_ref().map(|host| format!(", {} of the host's", gigabytes(host.needed_bytes)));
    let needed = gigabytes(plan.memory.total);
    let [available, host] = [available, host].map(Option::unwrap_or_default);
    format!("about {needed} at the peak{available}{host}; --dry-run shows its parts")
}
