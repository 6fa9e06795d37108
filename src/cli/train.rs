//! `othink train`: from flags to a run.
//! Not here: the run (`train`), the run file (`config`).

use std::path::{Path, PathBuf};

use crate::config::{ConfigError, ConfigFile, DeviceChoice, RunConfig};
use crate::data::tasks::resolved;
use crate::interrupt::Interrupt;
use crate::progress::{ProgressDisplay, ProgressMode};
use crate::run_folder::RunFolderError;
use crate::run_folder::folder::has_run;
use crate::run_folder::free::require_free;
use crate::train::data_check::check_data;
use crate::train::plan::cards::Card;
use crate::train::plan::fit::GIB;
use crate::train::plan::{PlannedGpu, plan};
use crate::train::run::{Ended, ResumeOptions, TrainOptions, train};

use super::checked_rows::print_checked;
use super::failure::UsageError;
use super::in_file::require_data;
use super::plan_table::plan_table;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink train --config quickstart.toml
  othink train --config quickstart.toml --resume
  othink train --config geoqa.toml --dry-run --gpu h100-80gb";

/// Train a model by GRPO-D, GRPO or supervised fine-tuning, as the run file says.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// The run file; a name without a folder is also looked up in configs/, then among the
    /// built-in ones
    #[arg(long, value_name = "FILE")]
    config: String,
    /// Replace a value of the run file, such as `grpo.group_size=4`; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
    /// The run's folder [default: runs/NAME, after the run file]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in its folder from the last whole checkpoint; begin it where there is none yet. It may be
    /// given a greater train.updates
    #[arg(long)]
    resume: bool,
    /// With --resume: leave out of the files of records what is out of place there, keep a copy of each, and go on
    #[arg(long, requires = "resume")]
    repair: bool,
    /// Where to compute: auto, cpu, cuda or cuda:N, as model.device
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// A file of samples to train on, or a folder: that of the task's data, or where the image
    /// paths of data.train start
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The words around a question, as data.template: a template's name, or a text with {problem}
    #[arg(long, value_name = "NAME|TEXT")]
    template: Option<String>,
    /// Make every row into a prompt, say which cannot be used and how long the prompts are, and do nothing
    #[arg(long, group = "told", conflicts_with_all = ["resume", "force"])]
    check_data: bool,
    /// Say what the run would take, its memory and its time, and do nothing
    #[arg(long, group = "told")]
    dry_run: bool,
    /// Plan for that card, its memory and its speed, whether or not there is one: h100-80gb, rtx-4090;
    /// an unknown name lists them all
    #[arg(long, value_name = "NAME", requires = "dry_run", conflicts_with = "gpu_memory")]
    #[arg(value_parser = Card::named)]
    gpu: Option<&'static Card>,
    /// Plan for a card sold with that much memory, 24, 40 or 80 (of 2^30 bytes, while all else here is in
    /// units of 10^9), whether or not there is one, and say what to change where it is too little; without
    /// times, which --gpu gives
    #[arg(long, value_name = "GB", requires = "dry_run", value_parser = gpu_bytes)]
    gpu_memory: Option<u64>,
    /// Print what --dry-run or --check-data says as one JSON object
    #[arg(long, requires = "told")]
    json: bool,
    /// Start although the run will not fit into the GPU's memory, as far as it can be foreseen
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
    /// Resume although rows, pictures or the tokenizer are not those that the run began with, and write the
    /// change into its folder; the base model's weights must be the same
    #[arg(long, requires = "resume")]
    allow_changed_data: bool,
    /// No progress, only warnings and errors
    #[arg(long, short)]
    quiet: bool,
}

/// What the flags ask for, checked.
#[derive(Debug)]
pub struct TrainRequest {
    /// The run file with the flags applied to it.
    pub config: RunConfig,
    /// The run's folder: new or empty, or with `resume` one that exists.
    pub out: PathBuf,
    /// Continues the run in the folder, if there is one.
    pub resume: bool,
    /// Keys that the run file or the flags set although they have no effect.
    pub unread: Vec<ConfigError>,
}

/// Runs the command.
///
/// # Errors
/// The flags, the run file or the data are wrong, or the run fails.
pub fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let mode = if args.quiet { ProgressMode::Quiet } else { ProgressMode::of_stderr() };
    let mut display = ProgressDisplay::new(mode);
    if args.check_data {
        let (file, overrides) = args.file_and_overrides()?;
        let config = resolved(&RunConfig::from_file(&file, &overrides)?)?;
        let checked = check_data(&config, &display)?;
        display.finish();
        return print_checked(&config, &checked, 0, args.json, printer);
    }
    if args.dry_run {
        let (file, overrides) = args.file_and_overrides()?;
        warn_of_unread(&RunConfig::unread_keys(&file, &overrides)?, &display);
        return args.dry_run(&RunConfig::from_file(&file, &overrides)?, &file, printer);
    }
    let options =
        ResumeOptions { allows_changed_data: args.allow_changed_data, repairs: args.repair };
    let is_forced = args.force;
    let TrainRequest { config, out, resume, unread } = args.into_request()?;
    warn_of_unread(&unread, &display);
    let notes = display.notes();
    let notice = "finishing the current batch, then saving; press again to stop at once";
    let interrupt = Interrupt::on_signals(notice, move |text| notes.note(text))?;
    let options = TrainOptions { out, resume: resume.then_some(options), is_forced };
    match train(&config, &options, &interrupt, &mut display)? {
        Ended::Finished(checkpoint) => {
            printer.line(checkpoint.display())?;
            Ok(ExitStatus::Done)
        }
        Ended::Interrupted(checkpoint) => {
            display.note(&format!("saved {}; --resume continues", checkpoint.display()));
            Ok(ExitStatus::Interrupted)
        }
    }
}

impl Args {
    /// Loads the run file, applies the flags to it, chooses and checks the run's folder.
    ///
    /// # Errors
    /// The run file is wrong, `--data` is not there, the folder is in use or cannot be resumed.
    pub fn into_request(self) -> anyhow::Result<TrainRequest> {
        let (file, overrides) = self.file_and_overrides()?;
        let config = RunConfig::from_file(&file, &overrides)?;
        let unread = RunConfig::unread_keys(&file, &overrides)?;
        let out = self.out_folder(&file);
        check_out_folder(&out, self.resume)?;
        Ok(TrainRequest { config, out, resume: self.resume, unread })
    }

    /// The GPU that is to be planned for, with the flag that says so.
    fn planned_gpu(&self) -> Option<(&'static str, PlannedGpu)> {
        let card = self.gpu.map(|card| ("--gpu", PlannedGpu::Card(card)));
        card.or(self.gpu_memory.map(|bytes| ("--gpu-memory", PlannedGpu::Memory(bytes))))
    }

    /// The override that such a flag stands for.
    fn planned_device(&self, flag: &str) -> Result<String, UsageError> {
        match self.device {
            Some(DeviceChoice::Cpu) => Err(UsageError::new(
                format!("{flag} plans for a GPU, and --device cpu asks for none"),
                "leave one of the two out",
            )),
            Some(device @ DeviceChoice::Cuda(_)) => Ok(format!("model.device={device}")),
            Some(DeviceChoice::Auto) | None => Ok("model.device=cuda".to_owned()),
        }
    }

    fn out_folder(&self, file: &ConfigFile) -> PathBuf {
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(file.stem()))
    }

    /// Plans the run and prints the plan.
    fn dry_run(
        &self,
        config: &RunConfig,
        file: &ConfigFile,
        printer: &mut Printer,
    ) -> anyhow::Result<ExitStatus> {
        let config = resolved(config)?;
        let plan = plan(&config, &self.out_folder(file), self.planned_gpu().map(|(_, gpu)| gpu))?;
        if self.json {
            printer.json(&plan)?;
        } else {
            printer.line(plan_table(&config, &plan))?;
        }
        Ok(ExitStatus::Done)
    }

    /// The run file, and the flags as overrides of it.
    fn file_and_overrides(&self) -> anyhow::Result<(ConfigFile, Vec<String>)> {
        let file = ConfigFile::find(&self.config, Path::new(""))?;
        let mut overrides = self.overrides.clone();
        if let Some(device) = self.device {
            overrides.push(format!("model.device={device}"));
        }
        if let Some((flag, _)) = self.planned_gpu() {
            overrides.push(self.planned_device(flag)?);
        }
        if let Some(data) = &self.data {
            overrides.push(data_override(data, &file, &overrides)?);
        }
        if let Some(template) = &self.template {
            overrides.push(format!("data.template={}", toml::Value::String(template.clone())));
        }
        Ok((file, overrides))
    }
}

fn warn_of_unread(unread: &[ConfigError], display: &ProgressDisplay) {
    for keys in unread {
        display.warn(&keys.to_string());
    }
}

/// The bytes of a card that is named by its GiB.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within a u64 as checked"
)]
fn gpu_bytes(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(gib) if gib > 0.0 && gib < 1e6 => Ok((gib * GIB as f64) as u64),
        _ => Err("expected a number of gigabytes, such as 24, 40 or 80".to_owned()),
    }
}

/// The override that `--data` stands for. A file holds the training rows. A folder holds the images of
/// `data.train`, if the run file sets that key, else the task's data.
fn data_override(data: &Path, file: &ConfigFile, overrides: &[String]) -> anyhow::Result<String> {
    let Some(path) = data.to_str() else {
        let problem = format!("--data {}: the path is not UTF-8", data.display());
        return Err(UsageError::new(problem, "rename the file or the folder").into());
    };
    require_data(data)?;
    let value = toml::Value::String(path.to_owned());
    let trains_on = |overrides: &[String]| RunConfig::from_file(file, overrides);
    let has_own_file = data.is_dir()
        && trains_on(overrides)
            .is_ok_and(|config| config.data.train.is_some_and(|train| Path::new(&train).is_file()));
    let key = if has_own_file { "data.image_root" } else { "data.train" };
    Ok(format!("{key}={value}"))
}

/// The folder is free for a new run, or holds the one that is to be continued.
fn check_out_folder(out: &Path, resume: bool) -> Result<(), RunFolderError> {
    match (resume, has_run(out)?) {
        (false, _) => require_free(out),
        (true, true) => Ok(()),
        // A run that has not begun yet begins, so that one command serves to start and to continue.
        (true, false) => require_free(out).map_err(|error| match error {
            RunFolderError::HoldsRun { path, .. } => RunFolderError::NoRun { path },
            other => other,
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn request(flags: &[&str]) -> anyhow::Result<TrainRequest> {
        let words = ["othink", "train", "--config", "quickstart.toml"].iter().chain(flags);
        let Command::Train(args) = Cli::try_parse_from(words)?.command else { panic!("train") };
        args.into_request()
    }

    #[test]
    fn flags_are_laid_over_the_run_file_last() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let flags =
            ["--set", "model.device=auto", "--device", "cpu", "--out", out.to_str().unwrap()];
        let request = request(&flags).unwrap();
        assert_eq!(request.config.model.device, DeviceChoice::Cpu);
        assert_eq!(request.out, out);
        assert!(!request.resume);
    }

    #[test]
    fn data_is_a_file_to_train_on_the_tasks_folder_or_where_images_start() {
        let folder = tempfile::tempdir().unwrap();
        let (root, rows) = (folder.path().to_str().unwrap(), folder.path().join("a \"b\".jsonl"));
        std::fs::write(&rows, "").unwrap();
        let rows = rows.to_str().unwrap();
        let out = folder.path().join("run");
        let out = ["--out", out.to_str().unwrap()];
        let data = |flags: &[&str]| request(&[flags, &out].concat()).unwrap().config.data;
        assert_eq!(data(&["--data", rows]).train.as_deref(), Some(rows));
        assert_eq!(data(&["--data", root]).train.as_deref(), Some(root));
        let own = format!("data.train={}", toml::Value::String(rows.to_owned()));
        let with_own = data(&["--set", &own, "--data", root]);
        assert_eq!(with_own.train.as_deref(), Some(rows));
        assert_eq!(with_own.image_root.as_deref(), Some(folder.path()));
    }

    #[test]
    fn missing_data_is_wrong_usage() {
        let error = request(&["--data", "no/such/rows.jsonl"]).unwrap_err();
        assert!(error.is::<UsageError>());
        assert!(error.to_string().starts_with("--data no/such/rows.jsonl: no such file or folder"));
    }

    #[test]
    fn folder_in_use_is_neither_overwritten_nor_is_a_missing_one_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        assert!(request(&["--out", root]).is_ok(), "an empty folder is free");
        assert!(
            request(&["--out", root, "--resume"]).is_ok(),
            "and a run that is resumed begins there"
        );
        let file = folder.path().join("metrics.jsonl");
        std::fs::write(&file, "{}\n").unwrap();
        assert!(request(&["--out", root]).unwrap_err().to_string().contains("holds a run"));
        let no_run = request(&["--out", root, "--resume"]).unwrap_err().to_string();
        assert!(no_run.contains("holds no config.toml, expected a run to resume"), "{no_run}");
        std::fs::write(folder.path().join("config.toml"), "").unwrap();
        assert!(request(&["--out", root, "--resume"]).is_ok());
        assert!(request(&["--out", file.to_str().unwrap()]).is_err());
    }
}
