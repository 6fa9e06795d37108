//! `othink eval`: from flags to an evaluation.
//! Not here: the evaluation (`eval`), tasks and their data (`data`).

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::config::{DTypeChoice, DeviceChoice};

use super::failure::UsageError;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink eval --task synth-vc
  othink eval --task synth-vc --split shifted --model runs/quickstart/checkpoints/step-000100
  othink eval --task superclevr --model Qwen/Qwen2-VL-2B-Instruct --data superclevr --json";

/// The model whose post-training the paper reports.
const BASE_MODEL: &str = "Qwen/Qwen2-VL-2B-Instruct";

/// Measure a model on a task: accuracy and format rate with a 95% interval.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The task, such as synth-vc or superclevr
    #[arg(long, required_unless_present = "data")]
    task: Option<String>,
    /// A model folder, a hub id or tiny [default: the task's base model, tiny for drawn tasks]
    #[arg(long, value_name = "PATH")]
    model: Option<String>,
    /// A file of questions, or the folder that holds the task's data
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The task's split: test, or shifted for drawn tasks
    #[arg(long, default_value = "test")]
    split: String,
    /// At most that many questions
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Cut an answer off at that many tokens [default: the task's]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<NonZeroUsize>,
    /// Write every answer to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Number format: auto, f32, bf16 or f16
    #[arg(long, default_value = "auto")]
    dtype: DTypeChoice,
}

/// What the flags ask for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalRequest {
    /// The task by name; without it, `data` is a file of questions.
    pub task: Option<String>,
    /// A model folder, a hub id or `tiny`.
    pub model: String,
    /// A file of questions or the folder of the task's data; it exists.
    pub data: Option<PathBuf>,
    /// The task's split.
    pub split: String,
    /// At most that many questions.
    pub limit: Option<usize>,
    /// Where answers are cut off; without it, the task says.
    pub max_new_tokens: Option<usize>,
    /// Where every answer is written; the file may exist and is replaced.
    pub out: Option<PathBuf>,
    /// One JSON object rather than a table.
    pub json: bool,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number format.
    pub dtype: DTypeChoice,
}

/// Runs the command.
///
/// # Errors
/// The flags, the model or the data are wrong, or the evaluation fails.
pub fn run(args: Args, _printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let request = args.into_request()?;
    anyhow::bail!("{}: this build has no evaluation", request.model)
}

impl Args {
    /// Chooses the model and checks the paths.
    ///
    /// # Errors
    /// `--data` is not there, or `--out` is a folder.
    pub fn into_request(self) -> Result<EvalRequest, UsageError> {
        if let Some(data) = self.data.as_deref().filter(|data| !data.exists()) {
            let problem = format!("--data {}: no such file or folder", data.display());
            return Err(UsageError::new(problem, "relative paths start at the working folder"));
        }
        if let Some(out) = self.out.as_deref().filter(|out| out.is_dir()) {
            let problem = format!("--out {}: found a folder, expected a file", out.display());
            return Err(UsageError::new(problem, "for example --out answers.jsonl"));
        }
        let is_drawn = self.task.as_deref().is_some_and(|task| task.starts_with("synth-"));
        let base_model = if is_drawn { "tiny" } else { BASE_MODEL };
        Ok(EvalRequest {
            task: self.task,
            model: self.model.unwrap_or_else(|| base_model.to_owned()),
            data: self.data,
            split: self.split,
            limit: self.limit.map(NonZeroUsize::get),
            max_new_tokens: self.max_new_tokens.map(NonZeroUsize::get),
            out: self.out,
            json: self.json,
            device: self.device,
            dtype: self.dtype,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn request(flags: &[&str]) -> anyhow::Result<EvalRequest> {
        let words = ["othink", "eval"].iter().chain(flags);
        let Command::Eval(args) = Cli::try_parse_from(words)?.command else { panic!("eval") };
        Ok(args.into_request()?)
    }

    #[test]
    fn base_model_is_tiny_for_drawn_tasks_and_the_papers_for_the_others() {
        assert_eq!(request(&["--task", "synth-gr"]).unwrap().model, "tiny");
        assert_eq!(request(&["--task", "superclevr"]).unwrap().model, BASE_MODEL);
        assert_eq!(request(&["--task", "synth-gr", "--model", "m"]).unwrap().model, "m");
    }

    #[test]
    fn task_or_data_is_needed() {
        assert!(request(&[]).is_err());
        assert!(request(&["--data", "."]).is_ok());
    }

    #[test]
    fn counts_of_zero_and_paths_that_are_not_there_are_refused() {
        assert!(request(&["--task", "synth-vc", "--limit", "0"]).is_err());
        assert!(request(&["--task", "synth-vc", "--max-new-tokens", "0"]).is_err());
        let error = request(&["--task", "vc", "--data", "no/such"]).unwrap_err();
        assert!(error.to_string().starts_with("--data no/such: no such file or folder"));
        let error = request(&["--task", "synth-vc", "--out", "."]).unwrap_err();
        assert!(error.to_string().starts_with("--out .: found a folder, expected a file"));
    }
}
