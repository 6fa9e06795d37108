//! `othink man`: the manual pages, one for the program and one for each command.
//! Not here: the texts, which are those of `--help`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::failure::UsageError;
use super::{Cli, ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink man man1
  othink man /usr/local/share/man/man1";

/// Write the manual pages into a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder, which is made if it is not there; pages of the same names in it are replaced
    dir: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The path is a file, or the pages cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let (dir, name) = (&args.dir, args.dir.display());
    if dir.exists() && !dir.is_dir() {
        let problem = format!("{name}: found a file, expected a folder");
        return Err(UsageError::new(problem, "name another folder").into());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {name}"))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write the pages into {name}"))?;
    printer.line(dir.join("othink.1").display())?;
    Ok(ExitStatus::Done)
}
