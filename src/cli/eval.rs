//! `othink eval`: from flags to an evaluation, or to the comparison of two.
//! Not here: the evaluation (`eval`, `experiment::measure`), tasks and their data (`data`).

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use serde::Serialize;

use crate::config::{
    DTypeChoice, DataConfig, DeviceChoice, EvalConfig, PAPERS_MODEL, RowBoxes, RunConfig,
};
use crate::data::tasks::resolved;
use crate::data::tasks::task;
use crate::eval::questions::{EvaluationQuestions, evaluation_questions};
use crate::eval::{Answer, Summary};
use crate::experiment::measure::{Measured, MeasuredModel, measure};
use crate::identity::evaluation::of_evaluation;
use crate::identity::fingerprint::require_whole;
use crate::identity::kept::Kept;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::model::{device, source};
use crate::out_file::Destination;
use crate::printable::count;
use crate::progress::{ProgressDisplay, ProgressMode};
use crate::reward::{Component, Rule, component};
use crate::rollout::sampler::Sampler;

use super::against::{Against, Other};
use super::count::up_to;
use super::failure::UsageError;
use super::in_file::require_data;
use super::out_file::{check_out_file, check_unwritten};
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink eval --task synth-vc
  othink eval --task synth-vc --model runs/quickstart/checkpoints/step-000100 --against tiny
  othink eval --task superclevr --model Qwen/Qwen2-VL-2B-Instruct --data superclevr --json";

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
    #[arg(long, value_name = "N", value_parser = up_to(limits::ROWS))]
    limit: Option<NonZeroUsize>,
    /// Ask every question that many times, sampled, for pass@k and the majority's answer
    #[arg(long, value_name = "K", value_parser = up_to(limits::BATCH))]
    samples: Option<NonZeroUsize>,
    /// Sample at this temperature [default: greedy, or 1 with --samples]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Seed of sampled answers
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Compare on the same questions with this model (folder, hub id, tiny) or file of answers
    #[arg(long, value_name = "MODEL|FILE")]
    against: Option<String>,
    /// The words around a question: a template's name, or a text with {problem} [default: the task's]
    #[arg(long, value_name = "NAME|TEXT")]
    template: Option<String>,
    /// Enlarge images with fewer pixels [default: the task's, else the checkpoint's]
    #[arg(long, value_name = "N")]
    min_pixels: Option<usize>,
    /// Shrink images with more pixels [default: the task's, else the checkpoint's]
    #[arg(long, value_name = "N")]
    max_pixels: Option<usize>,
    /// The rule that decides accuracy: answer-tag, r1v-reward, r1v-superclevr or r1v-geoqa
    /// [default: the task's]
    #[arg(long)]
    rule: Option<Rule>,
    /// Reward components whose means are reported beside accuracy, separated by commas
    /// [default: the task's]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = component)]
    components: Vec<&'static Component>,
    /// Count solutions that answer-tag cannot read, rather than stop at the first
    #[arg(long)]
    allow_unparsable: bool,
    /// Unit of boxes in rows, which are written in the model's own: pixels or thousandths [default: the model's]
    #[arg(long, value_name = "UNIT", value_parser = row_boxes)]
    boxes: Option<RowBoxes>,
    /// Cut an answer off at that many tokens [default: the task's]
    #[arg(long, value_name = "N", value_parser = up_to(limits::TOKENS))]
    max_new_tokens: Option<NonZeroUsize>,
    /// Decode at most that many answers at a time; fewer need less memory [default: 64]
    #[arg(long, value_name = "N", value_parser = up_to(limits::BATCH))]
    max_batch: Option<NonZeroUsize>,
    /// Write every answer to this file, one JSON object a line; the same command continues an
    /// interrupted one
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace what the file of --out holds already
    #[arg(long, requires = "out")]
    overwrite: bool,
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
    /// The evaluation, as a run file would configure it.
    pub config: RunConfig,
    /// A model folder, a hub id or `tiny`.
    pub model: String,
    /// A model or a file of answers to compare with.
    pub against: Option<String>,
    /// The rule that decides accuracy; without it, the task's.
    pub rule: Option<Rule>,
    /// Answers to each question.
    pub samples: usize,
    /// How answers are decoded.
    pub sampler: Sampler,
    /// Seed of sampled answers.
    pub seed: u64,
    /// Where every answer is written.
    pub out: Option<PathBuf>,
    /// One JSON object rather than a table.
    pub json: bool,
}

/// What was measured: the printed object.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    split: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

/// Runs the command.
///
/// # Errors
/// The flags, the model or the data are wrong, or the evaluation fails.
pub fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let request = args.into_request()?;
    // A wrong `--against` is reported before any question is asked.
    let other = request.against.as_deref().map(Other::open).transpose()?;
    let asker = Asker::open(&request)?;
    let Some((answers, summary)) = asker.ask(&request.model, request.out.as_deref())? else {
        return Ok(ExitStatus::Interrupted);
    };
    let against = match other {
        Some(other) => {
            let ask = |model: &str| Ok(asker.ask(model, None)?.map(|(answers, _)| answers));
            let Some(against) = other.compared(&answers, ask)? else {
                return Ok(ExitStatus::Interrupted);
            };
            Some(against)
        }
        None => None,
    };
    let (split, model) = (request.config.eval.split.as_str(), request.model.as_str());
    let report = Report { summary: &summary, split, model, against };
    if request.json {
        printer.json(&report)?;
    } else {
        printer.line(report.table())?;
    }
    Ok(ExitStatus::Done)
}

/// The questions, and where and how models are asked them.
struct Asker {
    asked: EvaluationQuestions,
    device: Device,
    dtype: DType,
    interrupt: Interrupt,
    display: ProgressDisplay,
}

impl Asker {
    fn open(request: &EvalRequest) -> anyhow::Result<Self> {
        let config = resolved(&request.config)?;
        let device = device::device(&config.model.device.to_string())?;
        let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
        let mut asked = evaluation_questions(&config)?;
        asked.questions.dataset.check_images()?;
        let settings = &mut asked.settings;
        settings.rule = request.rule.unwrap_or(settings.rule);
        settings.samples = request.samples;
        settings.sampler = request.sampler.clone();
        settings.seed = request.seed;
        let display = ProgressDisplay::new(ProgressMode::of_stderr());
        let notes = display.notes();
        let notice = "stopping after this answer; press again to stop at once";
        let interrupt = Interrupt::on_signals(notice, move |text| notes.note(text))?;
        Ok(Self { asked, device, dtype, interrupt, display })
    }

    /// A model's answers; `None` if interrupted.
    fn ask(
        &self,
        model: &str,
        out: Option<&Path>,
    ) -> anyhow::Result<Option<(Vec<Answer>, Summary)>> {
        let files = source::resolve(model)?;
        let measured = MeasuredModel { files: &files, dtype: self.dtype, device: &self.device };
        self.display.between("reading the questions and the model", "");
        require_whole(&Kept::here(), &files)?;
        let computes = (self.dtype, &self.device);
        let identity = out.map(|_| of_evaluation(&files, computes, &self.asked)).transpose()?;
        let file = out.zip(identity.as_ref());
        let measured = measure(measured, &self.asked, file, &self.interrupt, &self.display);
        self.display.finish();
        match measured? {
            Measured::Whole { answers, summary } => Ok(Some((answers, *summary))),
            Measured::Interrupted => {
                let is_kept =
                    out.is_some_and(|out| matches!(Destination::of(out), Ok(Destination::File(_))));
                let next = if is_kept {
                    "the same command continues from here"
                } else {
                    "with a file as --out, the same command could continue from here"
                };
                self.display.note(&format!("interrupted; {next}"));
                Ok(None)
            }
        }
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
        let mut rows = vec![
            ("task".to_owned(), summary.task.clone()),
            ("split".to_owned(), self.split.to_owned()),
            ("model".to_owned(), self.model.to_owned()),
            ("questions".to_owned(), summary.n.to_string()),
            ("correct".to_owned(), summary.correct.to_string()),
            ("accuracy".to_owned(), measured(summary.accuracy, summary.ci95)),
            ("rule".to_owned(), summary.rule.clone()),
            ("answer-tag".to_owned(), measured(tag.accuracy, tag.ci95)),
            ("ungraded".to_owned(), summary.ungraded.to_string()),
            ("format rate".to_owned(), percent(summary.format_rate)),
            ("truncated".to_owned(), percent(summary.truncated_fraction)),
            ("mean length".to_owned(), format!("{:.1} tokens", summary.completion_length)),
        ];
        for (name, component) in &summary.components {
            let range = component
                .ci95
                .map_or(String::new(), |[low, high]| format!(" (95%: {low:.3} to {high:.3})"));
            rows.push((name.clone(), format!("{:.3}{range}", component.mean)));
        }
        if let Some(sampled) = &summary.sampled {
            rows.push(("samples".to_owned(), format!("{} a question", sampled.samples)));
            let pass = sampled.pass_at.iter();
            rows.extend(pass.map(|(k, part)| (format!("pass@{k}"), percent(*part))));
            let majority = &sampled.majority;
            rows.push(("majority".to_owned(), measured(majority.accuracy, majority.ci95)));
        }
        if let Some(Against { model, paired }) = &self.against {
            let [low, high] = paired.ci95.map(|bound| format!("{:+.1}", 100.0 * bound));
            let difference = 100.0 * paired.difference;
            rows.push(("against".to_owned(), format!("{model}, {}", count(paired.n, "question"))));
            let range = format!("{difference:+.1} points (95%: {low} to {high})");
            rows.push(("difference".to_owned(), range));
            let (first, second) = (paired.only_first, paired.only_second);
            rows.push(("right alone".to_owned(), format!("{first} here, {second} there")));
            rows.push(("McNemar".to_owned(), format!("p = {:.4}", paired.p_value)));
        }
        let width = rows.iter().map(|(name, _)| name.len()).fold(12, usize::max);
        let lines: Vec<String> =
            rows.iter().map(|(name, value)| format!("{name:<width$} {value}")).collect();
        lines.join("\n")
    }
}

impl Args {
    /// Chooses the model and checks the paths.
    ///
    /// # Errors
    /// `--data` is not there, `--out` cannot be a file, or a number is out of its range.
    pub fn into_request(self) -> anyhow::Result<EvalRequest> {
        self.data.as_deref().map_or(Ok(()), require_data)?;
        if let Some(out) = &self.out {
            check_out_file("--out", out)?;
            if !self.overwrite {
                check_unwritten("--out", out)?;
            }
        }
        let samples = self.samples.map_or(1, NonZeroUsize::get);
        let sampler = sampler(samples, self.temperature)?;
        let base_model = match &self.task {
            Some(name) => task(name)?.base_model,
            None => PAPERS_MODEL,
        };
        let config = self.config()?;
        Ok(EvalRequest {
            config,
            model: self.model.unwrap_or_else(|| base_model.to_owned()),
            against: self.against,
            rule: self.rule,
            samples,
            sampler,
            seed: self.seed,
            out: self.out,
            json: self.json,
        })
    }

    /// The evaluation, as the sections of a run file would configure it.
    fn config(&self) -> anyhow::Result<RunConfig> {
        let data = self.data.as_deref().map(|data| {
            let path = data.to_str().map(str::to_owned);
            path.ok_or_else(|| {
                let problem = format!("--data {}: the path is not UTF-8", data.display());
                UsageError::new(problem, "rename the file or the folder")
            })
        });
        let default = EvalConfig::default();
        let mut config = RunConfig {
            eval: EvalConfig {
                task: self.task.clone(),
                data: data.transpose()?,
                split: self.split.clone(),
                template: self.template.clone(),
                components: self.components.clone(),
                limit: self.limit.map(NonZeroUsize::get),
                max_new_tokens: self.max_new_tokens.map(NonZeroUsize::get),
                min_pixels: self.min_pixels,
                max_pixels: self.max_pixels,
                max_batch: self.max_batch.map_or(default.max_batch, NonZeroUsize::get),
                ..default
            },
            data: DataConfig {
                allow_unparsable: self.allow_unparsable,
                boxes: self.boxes,
                ..DataConfig::default()
            },
            ..RunConfig::default()
        };
        config.model.device = self.device;
        config.model.dtype = self.dtype;
        Ok(config)
    }
}

fn row_boxes(text: &str) -> Result<RowBoxes, &'static str> {
    match text {
        "pixels" => Ok(RowBoxes::Pixels),
        "thousandths" => Ok(RowBoxes::Thousandths),
        _ => Err("expected pixels or thousandths"),
    }
}

fn sampler(samples: usize, temperature: Option<f64>) -> Result<Sampler, UsageError> {
    let refused = |problem: String, hint: &str| Err(UsageError::new(problem, hint));
    match temperature {
        Some(t) if !(t.is_finite() && t >= 0.0) => {
            refused(format!("--temperature {t}: expected a number of at least 0"), "0 is greedy")
        }
        Some(0.0) if samples > 1 => refused(
            format!("--samples {samples} with --temperature 0: all answers would be the same"),
            "leave --temperature out, or raise it",
        ),
        Some(0.0) => Ok(Sampler::greedy()),
        Some(temperature) => Ok(Sampler { temperature, ..Sampler::default() }),
        None if samples > 1 => Ok(Sampler { temperature: 1.0, ..Sampler::default() }),
        None => Ok(Sampler::greedy()),
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
        args.into_request()
    }

    #[test]
    fn base_model_is_tiny_for_drawn_tasks_and_the_papers_for_the_others() {
        assert_eq!(request(&["--task", "synth-gr"]).unwrap().model, "tiny");
        assert_eq!(request(&["--task", "superclevr"]).unwrap().model, PAPERS_MODEL);
        assert_eq!(request(&["--task", "synth-gr", "--model", "m"]).unwrap().model, "m");
    }

    #[test]
    fn sampling_is_greedy_unless_asked_otherwise() {
        let vc = ["--task", "synth-vc"];
        assert!(request(&vc).unwrap().sampler.is_greedy());
        let sampled = request(&[&vc[..], &["--samples", "4"]].concat()).unwrap();
        assert_eq!((sampled.samples, sampled.sampler.temperature), (4, 1.0));
        let once = request(&[&vc[..], &["--temperature", "0.7"]].concat()).unwrap();
        assert_eq!((once.samples, once.sampler.temperature), (1, 0.7));
        for flags in [&["--samples", "4", "--temperature", "0"][..], &["--temperature", "nan"]] {
            assert!(request(&[&vc[..], flags].concat()).unwrap_err().is::<UsageError>());
        }
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
