//! `othink env`: what to paste into a bug report.
//! Not here: what is looked up (`doctor::environment`).

use serde_json::{Map, Value};

use crate::doctor::environment;
use crate::hub::Hub;

use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink env
  othink env --json";

/// Say what this program and this machine are, to paste into a bug report; nothing is tried and nothing fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let found = environment(&Hub::from_env());
    if args.json {
        let object = found.into_iter().map(|(name, text)| (name.to_owned(), Value::String(text)));
        printer.json(&object.collect::<Map<_, _>>())?;
    } else {
        for (name, text) in found {
            printer.line(format!("- {name}: {text}"))?;
        }
    }
    Ok(ExitStatus::Done)
}
