//! `othink cross-eval`: from flags to the paper's Table 1 and Figure 7.
//! Not here: the comparison (`experiment::cross`).

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;

use crate::data::tasks::task;
use crate::experiment::cross::{Cell, Contender, CrossSettings, cross_evaluate};
use crate::experiment::runs::Outcome;
use crate::limits;
use crate::printable::count;
use crate::report::chart::{Bars, Chart, Marks};

use super::chart_file::write_chart;
use super::count::up_to;
use super::failure::UsageError;
use super::run_store::StoreArgs;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink cross-eval --train synth-gr --test synth-vc
  othink cross-eval --train synth-gr,synth-vc --test synth-gr,synth-vc --plot table1.png
  othink cross-eval --train gr --test vc --methods base,sft,grpo,grpo-d --data gr=geoqa --data vc=superclevr";

/// Train each method on one task and test it on another: the paper's Figure 7, and its Table 1.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Tasks to train on
    #[arg(long, value_name = "TASK,...", value_delimiter = ',', required = true)]
    train: Vec<String>,
    /// Tasks to test on
    #[arg(long, value_name = "TASK,...", value_delimiter = ',', required = true)]
    test: Vec<String>,
    /// Methods to compare
    #[arg(
        long,
        value_name = "METHOD,...",
        value_delimiter = ',',
        default_value = "base,sft,grpo,grpo-d"
    )]
    methods: Vec<Contender>,
    /// A task's data, in place of its own
    #[arg(long, value_name = "TASK=PATH")]
    data: Vec<String>,
    /// The split to test on
    #[arg(long, default_value = "test")]
    split: String,
    /// At most that many questions of each test
    #[arg(long, value_name = "N", value_parser = up_to(limits::ROWS))]
    limit: Option<NonZeroUsize>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The printed object.
#[derive(Debug, Serialize)]
struct Report<'a> {
    cells: &'a [Cell],
}

/// Runs the command.
///
/// # Errors
/// A flag or a run file is wrong, or a run or an evaluation fails; what was finished before is kept.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let store = args.store.open()?;
    let settings = args.settings()?;
    let cells = match cross_evaluate(&settings, &store)? {
        Outcome::Done(cells) => cells,
        Outcome::Interrupted => return Ok(ExitStatus::Interrupted),
    };
    if let Some(plot) = &args.store.plot {
        write_chart(plot, &chart(&cells))?;
    }
    if args.json {
        printer.json(&Report { cells: &cells })?;
    } else {
        printer.line(tables(&cells).trim_end())?;
    }
    Ok(ExitStatus::Done)
}

impl Args {
    fn settings(&self) -> anyhow::Result<CrossSettings> {
        for name in self.train.iter().chain(&self.test) {
            task(name)?;
        }
        let mut data = BTreeMap::new();
        for given in &self.data {
            let Some((name, path)) = given.split_once('=') else {
                let problem = format!("--data {given}: expected TASK=PATH");
                return Err(UsageError::new(problem, "for example --data gr=geoqa").into());
            };
            task(name)?;
            data.insert(name.to_owned(), PathBuf::from(path));
        }
        Ok(CrossSettings {
            train: self.train.clone(),
            test: self.test.clone(),
            contenders: self.methods.clone(),
            seeds: self.store.seeds(),
            overrides: self.store.overrides.clone(),
            data,
            split: self.split.clone(),
            limit: self.limit.map(NonZeroUsize::get),
        })
    }
}

/// The pairs of tasks, in the order of their first cells.
fn pairs(cells: &[Cell]) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for cell in cells {
        let pair = (cell.train.as_str(), cell.test.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
}

/// Figure 7 for every pair of different tasks, Table 1 where tasks are tested on themselves.
fn tables(cells: &[Cell]) -> String {
    let mut text = String::new();
    for (train, test) in pairs(cells) {
        let same = if train == test { " (same task, Table 1)" } else { " (cross-task, Figure 7)" };
        text = text + "trained on " + train + ", tested on " + test + same + "\n";
        let header = ["method", "accuracy", "95% interval", "over base", "over SFT", "format"];
        let mut rows = vec![header.map(str::to_owned)];
        let of_pair = cells.iter().filter(|cell| cell.train == train && cell.test == test);
        rows.extend(of_pair.map(row));
        text.push_str(&aligned(&rows));
        text.push('\n');
    }
    text
}

/// A group of bars for each pair of tasks, a bar for each method.
fn chart(cells: &[Cell]) -> Chart {
    let percent = |part: f64| 100.0 * part;
    let pairs = pairs(cells);
    let mut methods: Vec<&str> = cells.iter().map(|cell| cell.method).collect();
    methods.dedup();
    let mut bars: Vec<Bars> = Vec::new();
    for method in methods {
        if bars.iter().any(|known| known.label == method) {
            continue;
        }
        let height = |(train, test): &(&str, &str)| {
            let is_wanted =
                |cell: &&Cell| cell.method == method && cell.train == *train && cell.test == *test;
            let found = &cells.iter().find(is_wanted)?.found;
            Some((percent(found.accuracy), Some(found.ci95.map(percent))))
        };
        bars.push(Bars { label: method.to_owned(), heights: pairs.iter().map(height).collect() });
    }
    let categories = pairs.iter().map(|(train, test)| format!("{train} to {test}")).collect();
    Chart {
        title: "Trained on one task, tested on another".to_owned(),
        x_title: "trained on, tested on".to_owned(),
        y_title: "accuracy, %".to_owned(),
        marks: Marks::Bars { categories, bars },
    }
}

fn row(cell: &Cell) -> [String; 6] {
    let percent = |part: f64| format!("{:.1}%", 100.0 * part);
    let gain = |gain: Option<f64>| gain.map_or("-".to_owned(), |g| format!("{:+.1}%", 100.0 * g));
    let [low, high] = cell.found.ci95;
    let over = match cell.found.seeds.len() {
        0 | 1 => count(cell.found.n, "question"),
        n => format!("{n} seeds"),
    };
    let is_base = cell.method == Contender::Base.name();
    [
        cell.method.to_owned(),
        percent(cell.found.accuracy),
        format!("{} to {} over {over}", percent(low), percent(high)),
        if is_base { "-".to_owned() } else { gain(cell.gain_over_base) },
        if cell.method == "sft" { "-".to_owned() } else { gain(cell.gain_over_sft) },
        percent(cell.found.format_rate),
    ]
}

/// Columns of equal width, the first to the left, the others to the right.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") }
        });
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}
