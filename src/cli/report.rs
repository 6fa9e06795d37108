//! `othink report`: from folders of runs to a page and to charts.
//! Not here: their contents (`report`); the same page while runs go on (`watch`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::eval::EvalError;
use crate::eval::answers_file::read_answers;
use crate::out_file;
use crate::report::curves::{NamedChart, charts};
use crate::report::page::page;
use crate::report::recorded_run::read_runs;
use crate::report::rollouts::NamedAnswers;
use crate::report::seeds::seed_groups;

use super::failure::UsageError;
use super::out_file::check_out_file;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink report runs/quickstart
  othink report runs/quickstart --out quickstart.html --plots plots --smooth 0.9";

/// Show runs, finished or not, as a page: before and after, curves, every rollout, tables, health.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    shown: ShownArgs,
    /// Where the page is written: one HTML file that needs no other
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Write every chart into this folder as well, as SVG and as PNG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is shown, in a file or live.
#[derive(Debug, clap::Args)]
pub(super) struct ShownArgs {
    /// Folders of runs; those that differ in their seed alone are shown together
    #[arg(required = true, value_name = "RUN")]
    pub(super) runs: Vec<PathBuf>,
    /// Answers that `othink eval --out` wrote, to be browsed as well; the same questions in several
    /// files, such as before and after training, are shown side by side
    #[arg(long, value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// Weight of what came before in the curves' moving average, from 0 (none) to below 1
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.6)]
    pub(super) smooth: f64,
}

/// What was made.
#[derive(Serialize)]
struct Outcome<'a> {
    page: &'a Path,
    plots: Vec<PathBuf>,
    runs: Vec<RunShown<'a>>,
}

#[derive(Serialize)]
struct RunShown<'a> {
    label: &'a str,
    path: &'a Path,
    updates: u64,
}

/// Runs the command.
///
/// # Errors
/// The flags or a run are wrong, or the output cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    args.check()?;
    let answers = args.shown.read_answers()?;
    let runs = read_runs(&args.shown.runs)?;
    let smoothing = args.shown.smooth;
    let page = page(&runs, &answers, smoothing)?;
    write(&args.out, page.as_bytes())?;
    let plots = args.plots.as_deref().map_or(Ok(Vec::new()), |folder| {
        write_plots(folder, &charts(&seed_groups(&runs), smoothing))
    });
    let shown = runs.iter().map(|run| RunShown {
        label: &run.label,
        path: &run.path,
        updates: run.n_updates(),
    });
    let outcome = Outcome { page: &args.out, plots: plots?, runs: shown.collect() };
    if args.json {
        printer.json(&outcome)?;
    } else {
        for path in std::iter::once(outcome.page).chain(outcome.plots.iter().map(PathBuf::as_path))
        {
            printer.line(path.display())?;
        }
    }
    Ok(ExitStatus::Done)
}

impl ShownArgs {
    pub(super) fn check(&self) -> Result<(), UsageError> {
        if (0.0..1.0).contains(&self.smooth) {
            return Ok(());
        }
        let problem = format!("--smooth is {}, expected a number from 0 to below 1", self.smooth);
        Err(UsageError::new(problem, "0 draws the figures as they are; 0.6 is the default"))
    }

    /// The files of `--answers`, by their names.
    pub(super) fn read_answers(&self) -> anyhow::Result<Vec<NamedAnswers>> {
        let named = self.answers.iter().map(|path| {
            if !path.is_file() {
                let problem = format!("--answers {}: no such file", path.display());
                let hint = "name a file that `othink eval --out` wrote";
                return Err(UsageError::new(problem, hint).into());
            }
            Ok(NamedAnswers {
                name: path.display().to_string(),
                answers: read_answers(path).map_err(EvalError::File)?,
            })
        });
        named.collect()
    }
}

impl Args {
    fn check(&self) -> Result<(), UsageError> {
        self.shown.check()?;
        check_out_file("--out", &self.out)?;
        match &self.plots {
            Some(folder) if folder.exists() && !folder.is_dir() => {
                let problem =
                    format!("--plots {}: found a file, expected a folder", folder.display());
                Err(UsageError::new(problem, "name another folder; a missing one is created"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Writes the charts under their names; returns the paths of the files.
fn write_plots(folder: &Path, charts: &[NamedChart]) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("creating the folder {}", folder.display()))?;
    let mut paths = Vec::with_capacity(2 * charts.len());
    for NamedChart { name, chart } in charts {
        let contents = [("svg", chart.svg()?.into_bytes()), ("png", chart.png()?)];
        for (extension, contents) in contents {
            let path = folder.join(format!("{name}.{extension}"));
            write(&path, &contents)?;
            paths.push(path);
        }
    }
    Ok(paths)
}

fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    out_file::write(path, contents).with_context(|| format!("writing {}", path.display()))
}
