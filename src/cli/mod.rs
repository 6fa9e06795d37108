//! The command line: one file per subcommand, thin, and what all of them share: output
//! ([`Printer`]), exit codes ([`ExitStatus`]), errors ([`report_error`]), logs.
//! Not here: anything that does the work; a subcommand checks its flags, calls the library and
//! prints. Nothing else in the crate may use this module.

mod against;
mod chart_file;
mod checked_rows;
pub mod completions;
mod count;
pub mod cross_eval;
pub mod data;
pub mod doctor;
mod dump;
pub mod env;
pub mod eval;
mod exit_status;
mod failure;
pub mod gpu_check;
pub mod grade;
mod in_file;
pub mod infer;
pub mod init;
mod logging;
pub mod man;
pub mod merge;
mod out_file;
mod plan_table;
mod printer;
pub mod replay;
pub mod report;
mod run_store;
pub mod schema;
pub mod sweep;
mod time_lines;
pub mod train;
pub mod watch;

use clap::{Parser, Subcommand};

use crate::program;

pub use exit_status::ExitStatus;
pub use failure::{UsageError, exit_status_of, report_error};
pub use printer::{PrintError, Printer};

const EXAMPLES: &str = "\
Examples:
  othink train --config quickstart.toml
  othink eval --task synth-vc --model runs/quickstart/checkpoints/step-000100
  othink infer --model tiny --image photo.png --prompt \"How many items are there?\"";

/// Post-trains vision-language models with GRPO-D: verifiable rewards and a dynamic KL weight.
#[derive(Debug, Parser)]
#[command(name = "othink", version = program::VERSION, long_version = program::long_version(), max_term_width = 100, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model by GRPO-D, GRPO or supervised fine-tuning, as the run file says
    Train(train::Args),
    /// Write a run file for data of your own
    Init(init::Args),
    /// Show rows as a model gets them: fields, pictures, lengths, golds, some whole prompts
    Data(data::Args),
    /// Measure a model on a task: accuracy and format rate with a 95% interval
    Eval(eval::Args),
    /// Train each method on one task and test it on another: the paper's Figure 7, and its Table 1
    CrossEval(cross_eval::Args),
    /// Train and measure a run file with one key at several values: the paper's Figures 4 and 6
    Sweep(sweep::Args),
    /// Answer one question, greedily unless a temperature is given
    Infer(infer::Args),
    /// Grade completions that are on disk: accuracy by a rule, and format
    Grade(grade::Args),
    /// Write an adapter and the model that it is for as one model folder
    Merge(merge::Args),
    /// Compute an update of a run again, and show each stage's figures beside the recorded ones
    Replay(replay::Args),
    /// Show runs as a page: before and after, curves, every rollout, tables, health
    Report(report::Args),
    /// Show runs as the same page while they go on, to a browser on this machine
    Watch(watch::Args),
    /// Say what this program and this machine can do, and what to change
    Doctor(doctor::Args),
    /// Measure a device with a model's shape: what it can do, and how much of that training uses
    GpuCheck(gpu_check::Args),
    /// Say what this program and this machine are, to paste into a bug report
    Env(env::Args),
    /// Print the JSON schema of run files, with which editors check and complete them
    Schema(schema::Args),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Args),
    /// Write the manual pages into a folder
    Man(man::Args),
}

/// Parses the process's arguments, runs the command, reports its error if it has one.
pub fn main() -> ExitStatus {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_or_help(&error),
    };
    let mut printer = Printer::stdout();
    match run(cli, &mut printer) {
        Ok(status) => status,
        Err(error) => {
            let status = exit_status_of(&error);
            if status != ExitStatus::Done {
                report_error(&error);
            }
            status
        }
    }
}

/// Runs a parsed command.
///
/// # Errors
/// Whatever the command reports; [`exit_status_of`] turns it into an exit code.
pub fn run(cli: Cli, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    logging::install()?;
    match cli.command {
        Command::Train(args) => train::run(args, printer),
        Command::Init(args) => init::run(&args, printer),
        Command::Data(args) => data::run(&args, printer),
        Command::Eval(args) => eval::run(args, printer),
        Command::CrossEval(args) => cross_eval::run(&args, printer),
        Command::Sweep(args) => sweep::run(&args, printer),
        Command::Infer(args) => infer::run(args, printer),
        Command::Grade(args) => grade::run(&args, printer),
        Command::Merge(args) => merge::run(&args, printer),
        Command::Replay(args) => replay::run(args, printer),
        Command::Report(args) => report::run(&args, printer),
        Command::Watch(args) => watch::run(&args, printer),
        Command::Doctor(args) => doctor::run(&args, printer),
        Command::GpuCheck(args) => gpu_check::run(&args, printer),
        Command::Env(args) => env::run(&args, printer),
        Command::Schema(args) => schema::run(&args, printer),
        Command::Completions(args) => completions::run(&args, printer),
        Command::Man(args) => man::run(&args, printer),
    }
}

/// Prints clap's message: help and version on standard output, wrong usage on standard error.
fn usage_or_help(error: &clap::Error) -> ExitStatus {
    let is_help = error.exit_code() == 0;
    match error.print() {
        // A reader that closes standard output early is no failure.
        Err(problem) if problem.kind() != std::io::ErrorKind::BrokenPipe => ExitStatus::Failed,
        Ok(()) | Err(_) if is_help => ExitStatus::Done,
        Ok(()) | Err(_) => ExitStatus::Usage,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_of_every_subcommand_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_ends_in_two_or_three_examples_that_parse() {
        let mut root = Cli::command();
        root.build();
        let helps = root.get_subcommands().filter(|command| command.get_name() != "help");
        for command in helps.chain([&root]) {
            let after_help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                after_help.lines().filter_map(|line| line.strip_prefix("  othink ")).collect();
            let name = command.get_name();
            assert!((2..=3).contains(&examples.len()), "{name} has {} examples", examples.len());
            for example in examples {
                let words = shell_words(example);
                let parsed = Cli::try_parse_from(std::iter::once("othink").chain(words));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    /// Words of a command line in which double quotes group.
    fn shell_words(line: &str) -> Vec<&str> {
        let parts = line.split('"').enumerate();
        let words = parts.flat_map(|(idx, part)| {
            if idx % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
        });
        words.collect()
    }
}
