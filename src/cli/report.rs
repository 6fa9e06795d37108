//! `othink report`: from folders of runs to a page and to charts.
//! Not here: their contents (`report`).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::out_file;
use crate::report::curves::{NamedChart, charts};
use crate::report::page::page;
use crate::report::recorded_run::read_runs;
use crate::report::seeds::seed_groups;

use super::failure::UsageError;
use super::out_file::check_out_file;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink report runs/quickstart
  othink report runs/quickstart --out quickstart.html --plots plots --smooth 0.9";

/// Show runs, finished or not, as a page: curves, evaluations, timing, health, case studies.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folders of runs; those that differ in their seed alone are shown as their mean
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the page is written: one HTML file that needs no other
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Write every chart into this folder as well, as SVG and as PNG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Weight of what came before in the curves' moving average, from 0 (none) to below 1
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.6)]
    smooth: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
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
    let runs = read_runs(&args.runs)?;
    let groups = seed_groups(&runs);
    let charts = charts(&groups, args.smooth);
    let page = page(&runs, &groups, &charts, args.smooth)?;
    write(&args.out, page.as_bytes())?;
    let plots = args.plots.as_deref().map_or(Ok(Vec::new()), |folder| write_plots(folder, &charts));
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

impl Args {
    fn check(&self) -> Result<(), UsageError> {
        if !(0.0..1.0).contains(&self.smooth) {
            let problem =
                format!("--smooth is {}, expected a number from 0 to below 1", self.smooth);
            return Err(UsageError::new(
                problem,
                "0 draws the figures as they are; 0.6 is the default",
            ));
        }
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
