//! `othink sweep`: from flags to a table and a plot of one key's values.
//! Not here: the runs (`experiment::sweep`), drawing (`report`).

use std::path::Path;

use serde::Serialize;

use crate::config::ConfigFile;
use crate::experiment::runs::Outcome;
use crate::experiment::seeds::OverSeeds;
use crate::experiment::sweep::{SweepPoint, SweepSettings, sweep};
use crate::report::chart::{Bars, Chart, Line, LineStyle, Marks, Point};

use super::chart_file::write_chart;
use super::cross_eval::aligned;
use super::failure::UsageError;
use super::run_store::StoreArgs;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink sweep --config quickstart.toml --vary reward.alpha=0,0.25,0.5,0.75,1
  othink sweep --config grpo-synth-vc.toml --vary kl.beta=0,0.02,0.04 --seeds 2 --plot beta.svg";

/// The key that `--seeds` sets in every run.
const SEED: &str = "train.seed";

/// Train and measure a run file with one key at several values: the paper's Figures 4 and 6.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The run file
    #[arg(long, value_name = "FILE")]
    config: String,
    /// The key and its values
    #[arg(long, value_name = "SECTION.KEY=VALUE,...")]
    vary: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The printed object.
#[derive(Debug, Serialize)]
struct Report<'a> {
    key: &'a str,
    points: &'a [SweepPoint],
}

/// Runs the command.
///
/// # Errors
/// A flag or a run file is wrong, or a run or an evaluation fails; what was finished before is kept.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let (key, values) = varied(&args.vary)?;
    let settings = SweepSettings {
        file: ConfigFile::find(&args.config, Path::new(""))?,
        overrides: args.store.overrides.clone(),
        key,
        values,
        seeds: args.store.seeds(),
    };
    let points = match sweep(&settings, &args.store.open()?)? {
        Outcome::Done(points) => points,
        Outcome::Interrupted => return Ok(ExitStatus::Interrupted),
    };
    if let Some(plot) = &args.store.plot {
        write_chart(plot, &chart(&settings.key, &points))?;
    }
    if args.json {
        printer.json(&Report { key: &settings.key, points: &points })?;
    } else {
        printer.line(table(&settings.key, &points).trim_end())?;
    }
    Ok(ExitStatus::Done)
}

/// The key and the values of `--vary`.
fn varied(text: &str) -> Result<(String, Vec<String>), UsageError> {
    let refused = |found: &str| {
        let problem = format!("--vary {text}: found {found}, expected SECTION.KEY=VALUE,VALUE,...");
        Err(UsageError::new(problem, "for example --vary reward.alpha=0,0.5,1"))
    };
    let Some((key, values)) = text.split_once('=') else { return refused("no =") };
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return refused("an empty value");
    }
    let key = key.trim().to_owned();
    if key == SEED {
        let problem = format!("--vary {text}: each value is trained with every seed of --seeds");
        return Err(UsageError::new(problem, "vary another key; --seeds says how many seeds"));
    }
    Ok((key, values))
}

fn table(key: &str, points: &[SweepPoint]) -> String {
    let percent = |part: f64| format!("{:.1}%", 100.0 * part);
    let header = [key, "accuracy", "95% interval", "answer-tag", "format"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(points.iter().map(|SweepPoint { value, found }| {
        let [low, high] = found.ci95;
        [
            value.clone(),
            percent(found.accuracy),
            format!("{} to {}", percent(low), percent(high)),
            percent(found.answer_tag),
            percent(found.format_rate),
        ]
    }));
    aligned(&rows)
}

/// Accuracy and format rate over the values: points on their axis where they are numbers, else bars.
fn chart(key: &str, points: &[SweepPoint]) -> Chart {
    let numbers: Option<Vec<f64>> = points.iter().map(|point| point.value.parse().ok()).collect();
    let percent = |part: f64| 100.0 * part;
    let marks = match numbers {
        Some(numbers) => {
            let line = |label: &str, of: &dyn Fn(f64, &OverSeeds) -> Point| Line {
                label: label.to_owned(),
                points: points.iter().zip(&numbers).map(|(p, x)| of(*x, &p.found)).collect(),
                raw: Vec::new(),
                style: LineStyle::Points,
            };
            let accuracy = |x, found: &OverSeeds| {
                let interval = Some(found.ci95.map(percent));
                Point { x, y: percent(found.accuracy), interval }
            };
            let format =
                |x, found: &OverSeeds| Point { x, y: percent(found.format_rate), interval: None };
            Marks::Lines(vec![line("accuracy", &accuracy), line("format", &format)])
        }
        None => Marks::Bars {
            categories: points.iter().map(|point| point.value.clone()).collect(),
            bars: vec![Bars {
                label: "accuracy".to_owned(),
                heights: points
                    .iter()
                    .map(|p| Some((percent(p.found.accuracy), Some(p.found.ci95.map(percent)))))
                    .collect(),
            }],
        },
    };
    Chart {
        title: format!("Accuracy and format over {key}"),
        x_title: key.to_owned(),
        y_title: "%".to_owned(),
        marks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_values_are_told_apart() {
        let (key, values) = varied("reward.alpha=0, 0.5,1").unwrap();
        assert_eq!((key.as_str(), values.join(" ").as_str()), ("reward.alpha", "0 0.5 1"));
        assert!(varied("reward.alpha").unwrap_err().to_string().contains("no ="));
        assert!(varied("reward.alpha=0,,1").unwrap_err().to_string().contains("an empty value"));
        assert!(varied("train.seed=1,2").unwrap_err().to_string().contains("--seeds"));
    }
}
