//! `othink schema`: the JSON schema of run files.
//! Not here: how it is made (`config::schema`).

use crate::config::schema;

use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink schema
  othink schema --compact

An editor that reads TOML schemas (taplo, Even Better TOML) checks and completes a run file whose first line is
  #:schema ./othink.schema.json";

/// Print the JSON schema of run files, with which editors check and complete them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print it on one line
    #[arg(long)]
    compact: bool,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let schema = schema();
    if args.compact {
        printer.json(&schema)?;
    } else {
        printer.line(format!("{schema:#}"))?;
    }
    Ok(ExitStatus::Done)
}
