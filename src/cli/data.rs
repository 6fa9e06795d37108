//! `othink data`: rows as a model gets them.
//! Not here: looking at them (`train::data_check`), the table (`checked_rows`), conversations (`data`).

use std::path::{Path, PathBuf};

use crate::config::{ConfigFile, RunConfig};
use crate::data::tasks::{resolved, task};
use crate::data::{Conversion, convert};
use crate::out_file;
use crate::printable::count;
use crate::progress::{ProgressDisplay, ProgressMode};
use crate::train::data_check::check_data;

use super::checked_rows::print_checked;
use super::failure::UsageError;
use super::out_file::{check_out_file, check_unwritten};
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink data my.jsonl
  othink data synth-vc --json
  othink data llava.json --convert rows.jsonl";

/// The run file of data that comes without one.
const PLAIN: &str = "[model]\npath = \"tiny\"\n";

/// Show rows as a model gets them: fields, pictures, lengths, golds, some whole prompts.
///
/// Every row is made into a prompt. Exit code 2: a run on these rows would stop at one of them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A task, a file of rows, a folder of them or a data set of the hub [default: the run file's]
    #[arg(value_name = "FILE|TASK", required_unless_present = "config")]
    source: Option<String>,
    /// The run file whose model, template and reward the rows are looked at with [default: the tiny
    /// model, and the task's own or the usual template]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Replace a value of the run file, such as `data.template=plain`; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
    /// How many whole prompts are shown of each kind of rows
    #[arg(long, value_name = "N", default_value_t = 3)]
    prompts: usize,
    /// Write rows of `conversations` or `messages` as rows of a question and its answer to this file,
    /// and do nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "overrides", "prompts"])]
    convert: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The run file, the model or the data is wrong, or nothing of the data can be used.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    if let (Some(out), Some(source)) = (&args.convert, &args.source) {
        let conversion = written(Path::new(source), out)?;
        if args.json {
            printer.json(&conversion)?;
        } else {
            printer.line(told(&conversion, out))?;
        }
        return Ok(ExitStatus::Done);
    }
    let config = resolved(&args.run_config()?)?;
    let display = ProgressDisplay::new(ProgressMode::of_stderr());
    let checked = check_data(&config, &display)?;
    display.finish();
    print_checked(&config, &checked, args.prompts, args.json, printer)
}

fn written(source: &Path, out: &Path) -> anyhow::Result<Conversion> {
    check_out_file("--convert", out)?;
    check_unwritten("--convert", out).map_err(|_| {
        UsageError::new(
            format!("--convert {}: the file is there already", out.display()),
            "name another file",
        )
    })?;
    let (lines, conversion) = convert(source)?;
    out_file::write(out, lines.as_bytes())?;
    Ok(conversion)
}

fn told(conversion: &Conversion, out: &Path) -> String {
    let Conversion { rows, converted, longer, system } = conversion;
    let mut lines = vec![format!(
        "{}: {}, {converted} of them from conversations",
        out.display(),
        count(*rows, "row")
    )];
    if *longer > 0 {
        lines
            .push(format!("{longer} go on after their first answer; what comes later is left out"));
    }
    if *system > 0 {
        lines.push(format!("{system} have a system message, which is left out"));
    }
    lines.join("\n")
}

impl Args {
    /// The run file with the data that is named in it.
    fn run_config(&self) -> anyhow::Result<RunConfig> {
        let file = match &self.config {
            Some(name) => ConfigFile::find(name, Path::new(""))?,
            None => ConfigFile::from_text("othink data", PLAIN),
        };
        let mut overrides = self.overrides.clone();
        if let Some(source) = &self.source {
            let is_task = task(source).is_ok() && !Path::new(source).exists();
            let key = if is_task { "data.task" } else { "data.train" };
            overrides.push(format!("{key}={}", toml::Value::String(source.clone())));
            if is_task && self.config.is_none() {
                overrides.push("eval.after_training=true".to_owned());
            }
        }
        Ok(RunConfig::from_file(&file, &overrides)?)
    }
}
