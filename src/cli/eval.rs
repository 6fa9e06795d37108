//! `othink eval`: from flags to an evaluation.
//! Not here: the evaluation (`eval`), tasks and their data (`data`).

use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{DTypeChoice, DataConfig, DeviceChoice, EvalConfig, RunConfig};
use crate::eval::{Answer, EvalError, Summary, evaluate, summarize};
use crate::model::open::open;
use crate::model::{device, source};
use crate::processor::Processor;
use crate::reward::Rule;
use crate::train::progress::{ProgressDisplay, ProgressMode};
use crate::train::setup::{EvaluationQuestions, evaluation_questions};

use super::failure::UsageError;
use super::out_file::check_out_file;
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
    /// The rule that decides accuracy: answer-tag, r1v-reward, r1v-superclevr or r1v-geoqa
    /// [default: the task's]
    #[arg(long)]
    rule: Option<Rule>,
    /// Count solutions that answer-tag cannot read, rather than stop at the first
    #[arg(long)]
    allow_unparsable: bool,
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
    /// The rule that decides accuracy; without it, the task says.
    pub rule: Option<Rule>,
    /// Whether solutions that cannot be read are counted rather than refused.
    pub allow_unparsable: bool,
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

/// What was measured: the printed object.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    split: &'a str,
    model: &'a str,
}

/// Runs the command.
///
/// # Errors
/// The flags, the model or the data are wrong, or the evaluation fails.
pub fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let request = args.into_request()?;
    let device = device::device(&request.device.to_string())?;
    let dtype = device::dtype(&request.dtype.to_string(), &device)?;
    let asked = request.questions()?;
    let files = source::resolve(&request.model)?;
    let processor = Processor::load(&files)?;
    let model = open(&files, dtype, &device, |_| false)?;

    let display = ProgressDisplay::new(ProgressMode::Lines);
    let n =
        asked.settings.limit.map_or(asked.dataset.len(), |limit| limit.min(asked.dataset.len()));
    let mut file = request.out.as_deref().map(AnswersFile::new);
    let (mut answered, mut correct) = (0, 0);
    let mut on_answers = |new: &[Answer]| {
        if let Some(file) = &mut file {
            file.append(new)?;
        }
        answered += new.len();
        correct += new.iter().filter(|answer| answer.accuracy >= 1.0).count();
        display.note(&format!("{answered} of {n} questions, {correct} right"));
        Ok(())
    };
    let questions = (&asked.dataset, &asked.template);
    let answers = evaluate(&model, &processor, questions, &asked.settings, &mut on_answers)?;

    let summary = summarize(&asked.label, asked.settings.rule, &answers);
    let report = Report { summary: &summary, split: &request.split, model: &request.model };
    if request.json {
        printer.json(&report)?;
    } else {
        printer.line(report.table())?;
    }
    Ok(ExitStatus::Done)
}

impl EvalRequest {
    /// The questions as a run file's `[eval]` section would name them; their pictures are there.
    fn questions(&self) -> anyhow::Result<EvaluationQuestions> {
        let data = self.data.as_deref().map(|data| {
            let path = data.to_str().map(str::to_owned);
            path.ok_or_else(|| {
                let problem = format!("--data {}: the path is not UTF-8", data.display());
                UsageError::new(problem, "rename the file or the folder")
            })
        });
        let config = RunConfig {
            eval: EvalConfig {
                task: self.task.clone(),
                data: data.transpose()?,
                split: self.split.clone(),
                limit: self.limit,
                max_new_tokens: self.max_new_tokens,
                ..EvalConfig::default()
            },
            data: DataConfig { allow_unparsable: self.allow_unparsable, ..DataConfig::default() },
            ..RunConfig::default()
        };
        let mut questions = evaluation_questions(&config)?;
        questions.settings.rule = self.rule.unwrap_or(questions.settings.rule);
        questions.dataset.check_images()?;
        Ok(questions)
    }
}

impl Report<'_> {
    /// One figure a line.
    fn table(&self) -> String {
        let percent = |part: f64| format!("{:.1}%", 100.0 * part);
        let summary = self.summary;
        let measured = |accuracy: f64, ci95: [f64; 2]| {
            let [low, high] = ci95.map(percent);
            format!("{} (95%: {low} to {high})", percent(accuracy))
        };
        let tag = &summary.answer_tag;
        let rows = [
            ("task", summary.task.clone()),
            ("split", self.split.to_owned()),
            ("model", self.model.to_owned()),
            ("questions", summary.n.to_string()),
            ("correct", summary.correct.to_string()),
            ("accuracy", measured(summary.accuracy, summary.ci95)),
            ("rule", summary.rule.clone()),
            ("answer-tag", measured(tag.accuracy, tag.ci95)),
            ("ungraded", summary.ungraded.to_string()),
            ("format rate", percent(summary.format_rate)),
            ("truncated", percent(summary.truncated_fraction)),
            ("mean length", format!("{:.1} tokens", summary.completion_length)),
        ];
        rows.map(|(name, value)| format!("{name:<12} {value}")).join("\n")
    }
}

/// The answers, one JSON object a line, in whole lines; begun when there is something to write.
struct AnswersFile<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl<'a> AnswersFile<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, file: None }
    }

    fn append(&mut self, answers: &[Answer]) -> Result<(), EvalError> {
        let mut lines = Vec::new();
        for answer in answers {
            serde_json::to_writer(&mut lines, answer).map_err(io::Error::from)?;
            lines.push(b'\n');
        }
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        };
        let file = match &mut self.file {
            Some(file) => file,
            unopened => unopened.insert(File::create(self.path).map_err(failed)?),
        };
        Ok(file.write_all(&lines).map_err(failed)?)
    }
}

impl Args {
    /// Chooses the model and checks the paths.
    ///
    /// # Errors
    /// `--data` is not there, or `--out` cannot be a file.
    pub fn into_request(self) -> Result<EvalRequest, UsageError> {
        if let Some(data) = self.data.as_deref().filter(|data| !data.exists()) {
            let problem = format!("--data {}: no such file or folder", data.display());
            return Err(UsageError::new(problem, "relative paths start at the working folder"));
        }
        if let Some(out) = &self.out {
            check_out_file("--out", out)?;
        }
        let is_drawn = self.task.as_deref().is_some_and(|task| task.starts_with("synth-"));
        let base_model = if is_drawn { "tiny" } else { BASE_MODEL };
        Ok(EvalRequest {
            task: self.task,
            model: self.model.unwrap_or_else(|| base_model.to_owned()),
            data: self.data,
            split: self.split,
            limit: self.limit.map(NonZeroUsize::get),
            rule: self.rule,
            allow_unparsable: self.allow_unparsable,
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
        let error = request(&["--task", "synth-vc", "--out", "no/such/a.jsonl"]).unwrap_err();
        assert!(error.to_string().starts_with("--out no/such/a.jsonl: found no folder no/such"));
    }
}
