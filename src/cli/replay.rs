//! `othink replay`: an update of a run computed again, beside what was recorded of it.
//! Not here: computing it (`train::replay`), which figures there are (`train::replayed`).

use std::path::PathBuf;

use crate::config::DeviceChoice;
use crate::printable::count;
use crate::progress::{ProgressDisplay, ProgressMode};
use crate::train::replay::{Outcome, ReplayOptions, Replayed, replay};
use crate::train::replayed::{CompletionCounts, Figure};

use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink replay runs/quickstart --update 1
  othink replay runs/quickstart --update 1 --sample --json

On the CPU in f32 every figure is the same to the bit; elsewhere --tolerance says how far apart they may be.
Exit code 1: a figure differs, or the update no longer fails.";

/// Compute an update of a run again from the checkpoint before it, and show each stage's figures beside the recorded ones.
///
/// Completions are taken from the run's record. Nothing is written, and the run may be going on.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The run's folder
    run: PathBuf,
    /// The update, from 1; one that failed is the one after the last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    update: u64,
    /// Sample completions again instead of taking the recorded ones
    #[arg(long)]
    sample: bool,
    /// The largest relative difference of a figure that counts as none
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = tolerance)]
    tolerance: f64,
    /// Where to compute: auto, cpu, cuda or cuda:N [default: the run's]
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let expected = || "expected a number of at least 0, such as 1e-5".to_owned();
    text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0).ok_or_else(expected)
}

/// Runs the command.
///
/// # Errors
/// The run or the update is not there, or it cannot be computed from what it was computed from.
pub fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let overrides = args.device.iter().map(|device| format!("model.device={device}")).collect();
    let Args { run, update, sample: samples, tolerance, json, .. } = args;
    let mut display = ProgressDisplay::new(ProgressMode::of_stderr());
    let options = ReplayOptions { run, update, samples, overrides };
    let replayed = replay(&options, &mut display);
    display.finish();
    let replayed = replayed?;
    if json {
        printer.json(&replayed)?;
    } else {
        printer.line(table(&replayed, tolerance))?;
    }
    Ok(if is_as_recorded(&replayed, tolerance) { ExitStatus::Done } else { ExitStatus::Failed })
}

/// Whether a figure is further from the recorded one than is allowed.
fn differs(figure: &Figure, tolerance: f64) -> bool {
    figure.differs() && figure.relative_difference().is_none_or(|found| found > tolerance)
}

fn is_as_recorded(replayed: &Replayed, tolerance: f64) -> bool {
    match &replayed.outcome {
        Outcome::Made { figures, completions } => {
            // Rewards and advantages follow from the tokens, and the figures have their means.
            completions.other_tokens == 0 && !figures.iter().any(|of| differs(of, tolerance))
        }
        Outcome::Failed { recorded, stage, error } => {
            (recorded.stage.as_str(), &recorded.error) == (stage, error)
        }
        Outcome::NoLongerFails { .. } => false,
    }
}

fn table(replayed: &Replayed, tolerance: f64) -> String {
    let Replayed { update, from, .. } = replayed;
    let begin = match from {
        0 => "the base model".to_owned(),
        from => format!("checkpoint step-{from:06}"),
    };
    let completions = if replayed.sampled { "; completions sampled again" } else { "" };
    let mut lines = vec![format!("update {update}, computed again from {begin}{completions}")];
    if let Some(first) = replayed.differs_from {
        lines.push(format!("already update {first} has other figures than recorded"));
    }
    match &replayed.outcome {
        Outcome::Made { figures, completions } => {
            lines.push(row(["stage", "figure", "recorded", "computed again", "apart by"]));
            lines.extend(figures.iter().map(figure_row));
            if completions.completions > 0 {
                lines.push(counts_line(*completions));
            }
            let n = figures.iter().filter(|figure| differs(figure, tolerance)).count();
            lines.push(match n {
                0 if tolerance > 0.0 => format!("no figure is further apart than {tolerance:e}"),
                0 => "every figure is the same to the bit".to_owned(),
                _ => format!("{n} of {} figures differ", figures.len()),
            });
        }
        Outcome::Failed { recorded, stage, error } => {
            lines.push(format!("it failed in stage {}: {}", recorded.stage, recorded.error));
            lines.push(if is_as_recorded(replayed, tolerance) {
                "it fails again in the same way".to_owned()
            } else {
                format!("it fails again, in stage {stage}: {error}")
            });
        }
        Outcome::NoLongerFails { recorded, figures } => {
            lines.push(format!("it failed in stage {}: {}", recorded.stage, recorded.error));
            lines.push("it does not fail again:".to_owned());
            lines.push(row(["stage", "figure", "", "computed again", ""]));
            lines.extend(figures.iter().map(figure_row));
        }
    }
    lines.join("\n")
}

fn row([stage, figure, recorded, replayed, apart]: [&str; 5]) -> String {
    let line = format!("{stage:<15} {figure:<24} {recorded:>22} {replayed:>22} {apart:>9}");
    line.trim_end().to_owned()
}

fn figure_row(figure: &Figure) -> String {
    let spell = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        number => number.to_string(),
    };
    let apart = match (figure.differs(), figure.relative_difference()) {
        (false, _) => String::new(),
        (true, Some(relative)) => format!("{relative:.1e}"),
        (true, None) => "differs".to_owned(),
    };
    let (recorded, replayed) = (spell(&figure.recorded), spell(&figure.replayed));
    row([figure.stage, &figure.name, &recorded, &replayed, &apart])
}

fn counts_line(counts: CompletionCounts) -> String {
    let CompletionCounts { completions, other_tokens, other_rewards, other_advantages } = counts;
    if counts.differ() {
        format!(
            "of {} {other_tokens} have other tokens, {other_rewards} other rewards, {other_advantages} another advantage",
            count(completions, "completion")
        )
    } else {
        let completions = count(completions, "completion");
        format!("{completions}: the same tokens, rewards and advantages")
    }
}
