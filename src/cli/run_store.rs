//! Flags that every experiment of several runs has: where runs are kept, how many seeds, overrides of the run files.
//! Not here: the experiments (`experiment`).

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::experiment::runs::RunStore;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::progress::{ProgressDisplay, ProgressMode};

use super::chart_file::check_chart_file;
use super::count::up_to;

/// Flags of an experiment of several runs.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// Train with seeds 1 to N, and report means with intervals over them
    #[arg(long, value_name = "N", default_value = "1", value_parser = up_to(limits::BATCH))]
    seeds: NonZeroUsize,
    /// Replace a value in every run file, such as `train.updates=50`; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(super) overrides: Vec<String>,
    /// The folder of runs; what is there already is not computed again
    #[arg(long, value_name = "DIR", default_value = "runs/experiments")]
    runs: PathBuf,
    /// Draw the accuracies into this file, .svg or .png
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
    /// No progress, only warnings and errors
    #[arg(long, short)]
    quiet: bool,
}

impl StoreArgs {
    /// Checks the flags and opens the folder of runs. From here on Ctrl-C, SIGTERM and SIGHUP save the current run or
    /// evaluation and end the command.
    ///
    /// # Errors
    /// The plot cannot be a file, or the signal handlers cannot be installed.
    pub(super) fn open(&self) -> anyhow::Result<RunStore> {
        if let Some(plot) = &self.plot {
            check_chart_file("--plot", plot)?;
        }
        let mode = if self.quiet { ProgressMode::Quiet } else { ProgressMode::of_stderr() };
        let notes = ProgressDisplay::new(mode).notes();
        let notice = "saving; the same command continues from here; press again to stop at once";
        let interrupt = Interrupt::on_signals(notice, move |text| notes.note(text))?;
        Ok(RunStore::new(self.runs.clone(), interrupt, mode))
    }

    /// The seeds, from 1.
    pub(super) fn seeds(&self) -> Vec<u64> {
        (1..=self.seeds.get() as u64).collect()
    }
}
