//! `othink completions`: a script that completes the command line in a shell.
//! Not here: the commands and flags, which it is made from (`Cli`).

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink completions bash
  othink completions zsh
  othink completions fish

A shell reads the script from where it keeps such scripts: bash from
~/.local/share/bash-completion/completions/othink, fish from ~/.config/fish/completions/othink.fish,
zsh from a file _othink in a folder of $fpath.";

/// Print a script that completes commands and flags in a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "othink", &mut script);
    printer.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitStatus::Done)
}
