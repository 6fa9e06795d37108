//! `othink doctor`: what this program and this machine can do.
//! Not here: what is looked at (`doctor`).

use serde_json::json;

use crate::doctor::{Asked, Examined, Finding, examine, works};
use crate::hub::Hub;

use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink doctor
  othink doctor --device cpu --hub --json
  othink doctor --ceilings";

/// Say what this program and this machine can do, and what to change: exit code 1 where what was asked for will not work
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The device that must work: cpu, cuda or cuda:N; auto takes what there is
    #[arg(long)]
    device: Option<String>,
    /// Models or data sets will be fetched: the hub must answer and its cache take files
    #[arg(long)]
    hub: bool,
    /// Measure how fast the device multiplies and copies, and keep it for the times that
    /// `train --dry-run` plans on it
    #[arg(long)]
    ceilings: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let asked = Asked { device: args.device.clone(), hub: args.hub, ceilings: args.ceilings };
    let Examined { findings, ceilings } = examine(&asked, &Hub::from_env());
    let works = works(&findings);
    if args.json {
        let mut report = json!({ "works": works, "findings": findings });
        if let Some(measured) = ceilings {
            report["ceilings"] = json!(measured);
        }
        printer.json(&report)?;
    } else {
        for finding in &findings {
            printer.line(shown(finding))?;
        }
    }
    Ok(if works { ExitStatus::Done } else { ExitStatus::Failed })
}

fn shown(Finding { name, found, problem }: &Finding) -> String {
    let mark = match problem {
        None => "ok     ",
        Some(problem) if problem.is_fatal => "failed ",
        Some(_) => "note   ",
    };
    let hint = problem
        .as_ref()
        .map_or(String::new(), |problem| format!("\n{:19}hint: {}", "", problem.hint));
    format!("{mark} {name:<10} {found}{hint}")
}
