//! `othink watch`: runs as a page that follows them, served to this machine alone.
//! Not here: the page (`report`), serving it (`report::loopback`), the page in a file (`report` beside this).

use crate::interrupt::Interrupt;
use crate::progress::{ProgressDisplay, ProgressMode};
use crate::report::live::LiveRuns;
use crate::report::loopback::{listen, serve};
use crate::report::recorded_run::read_runs;

use super::report::ShownArgs;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink watch runs/quickstart
  othink watch runs/seed-1 runs/seed-2 --port 8080";

/// Show runs as `report` does, and what they write as they go on; Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    shown: ShownArgs,
    /// The port on 127.0.0.1, which no other machine reaches; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 6210)]
    port: u16,
}

/// Runs the command.
///
/// # Errors
/// The flags or a run are wrong, the port is in use, or the system takes no more connections.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    args.shown.check()?;
    let answers = args.shown.read_answers()?;
    let runs = read_runs(&args.shown.runs)?;
    let (listener, address) = listen(args.port)?;
    let display = ProgressDisplay::new(ProgressMode::of_stderr());
    let notes = display.notes();
    let interrupt = Interrupt::on_signals("ending", move |text| notes.note(text))?;
    let live = LiveRuns::new(runs, answers, args.shown.smooth);
    printer.line(format_args!("http://{address}/"))?;
    display.note("serving to this machine; Ctrl-C ends it");
    serve(&listener, || !interrupt.is_requested(), move |request| live.reply(request))?;
    Ok(ExitStatus::Done)
}
