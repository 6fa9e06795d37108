//! `othink gpu-check`: what a device does with a model's shape.
//! Not here: what is measured (`gpu_check`).

use candle_core::{DType, Device};
use serde_json::json;

use super::failure::UsageError;
use super::{ExitStatus, Printer};
use crate::config::CheckpointingChoice;
use crate::gpu_check::decoding::Decoding;
use crate::gpu_check::random_model::StreamShape;
use crate::gpu_check::scoring::{Kept, Scoring, Settings};
use crate::gpu_check::{Stage, ceilings};
use crate::model::config::ModelConfig;
use crate::model::device;
use crate::model::precision::Precision;
use crate::train::plan::model_files;
use crate::train::settings::checkpointing;

const EXAMPLES: &str = "\
Examples:
  othink gpu-check
  othink gpu-check --model tiny --device cpu --prompts 1 --copy-mb 20 --product-side 512";

/// Measure a device with a model's shape and random weights: copying, matrix products, sampling, scoring, learning, the optimiser
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model whose shape is taken: a folder, a hub id, or tiny; its weights are not read
    #[arg(long, default_value = crate::config::PAPERS_MODEL)]
    model: String,
    /// cuda, cuda:N, cpu or auto
    #[arg(long, default_value = "cuda")]
    device: String,
    /// auto, f32 or bf16
    #[arg(long, default_value = "auto")]
    dtype: String,
    /// Prompts of the stream, each with an image
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    prompts: usize,
    /// Completions of a prompt
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    group_size: usize,
    /// Tokens of a completion
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    completion_tokens: usize,
    /// Patches along an image's side
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    image_side: usize,
    /// What the backward pass computes again: none, mlp or full, as `model.activation_checkpointing`
    #[arg(long, default_value_t = CheckpointingChoice::Mlp)]
    checkpointing: CheckpointingChoice,
    /// Trains low-rank factors of this rank in the place of the model's own weights, as `model.lora.rank`
    #[arg(long, value_name = "RANK", value_parser = at_least_one)]
    lora_rank: Option<usize>,
    /// Adds the gradients of a model in bf16 up in bf16, as `optim.gradients`
    #[arg(long)]
    bf16_gradients: bool,
    /// Bytes that are copied to measure the memory, in millions
    #[arg(long, default_value_t = 2000, value_parser = at_least_one)]
    copy_mb: usize,
    /// Rows and columns of the product that is measured
    #[arg(long, default_value_t = 8192, value_parser = at_least_one)]
    product_side: usize,
    /// Runs of each part, after one that is not counted
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    repetitions: usize,
    /// Measure nothing else
    #[arg(long, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
    /// Print JSON objects: the device, then each stage as it ends
    #[arg(long)]
    json: bool,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// How fast the device copies and multiplies
    Ceilings,
    /// Sampling completions
    Decoding,
    /// Scoring a packed stream, without and with gradients
    Learning,
    /// The optimiser's step
    Optimizer,
}

/// Runs the command.
///
/// # Errors
/// The device or the model's shape is not there, or the output cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let device = device::device(&args.device)?;
    let dtype = device::dtype(&args.dtype, &device)?;
    let precision = precision(args, dtype)?;
    let config = ModelConfig::load(&model_files(&args.model)?.0)?;
    if args.json {
        printer.json(&json!({ "device": device::name(&device), "dtype": dtype.as_str() }))?;
    }
    let merge = config.vision.spatial_merge_size;
    if !args.image_side.is_multiple_of(merge) {
        let problem = format!("--image-side {}: found no whole number of tokens", args.image_side);
        let hint =
            format!("{merge} patches along each side make a token: take a multiple of {merge}");
        return Err(UsageError::new(problem, hint).into());
    }
    let mut report = Report { args, printer, failed: false };
    report.stage(Part::Ceilings, "ceilings", || {
        let bytes = args.copy_mb * 1_000_000;
        ceilings::measure(&device, dtype, bytes, args.product_side).map(ceilings::figures)
    })?;
    if args.only != [Part::Ceilings] {
        of_model(args, &config, precision, &device, &mut report)?;
    }
    Ok(if report.failed { ExitStatus::Failed } else { ExitStatus::Done })
}

/// What the model and its gradients are kept in.
fn precision(args: &Args, dtype: DType) -> Result<Precision, UsageError> {
    match (args.bf16_gradients, dtype) {
        (false, _) => Ok(dtype.into()),
        (true, DType::BF16) => Ok(Precision { weights: dtype, gradients: DType::BF16 }),
        (true, _) => {
            let problem = format!("--bf16-gradients: found a model in {}", dtype.as_str());
            Err(UsageError::new(problem, "those of a model in bf16 alone can be: --dtype bf16"))
        }
    }
}

/// What a model of the shape takes.
fn of_model(
    args: &Args,
    config: &ModelConfig,
    precision: Precision,
    device: &Device,
    report: &mut Report,
) -> anyhow::Result<()> {
    let shape = StreamShape {
        prompts: args.prompts,
        group_size: args.group_size,
        text_tokens: 100,
        image_side: args.image_side,
        completion_tokens: args.completion_tokens,
    };
    let checkpointing = checkpointing(args.checkpointing);
    let Args { repetitions, lora_rank, .. } = *args;
    let settings = Settings { shape, checkpointing, repetitions, lora_rank };
    let mut made = None;
    report.done(&Stage::of("random model", || {
        made = Some(Scoring::new(config, precision, device, settings)?);
        Ok(Vec::new())
    }))?;
    let Some(scoring) = made else { return Ok(()) };
    let model = scoring.detached()?;
    let decoding = Decoding::new(&model, config, shape);
    let speed = || decoding.speed(device, args.repetitions);
    report.stage(Part::Decoding, "decoding", speed)?;
    report.stage(Part::Decoding, "repeated decoding", || decoding.repeated())?;
    report.stage(Part::Learning, "reference", || scoring.reference())?;
    report.stage(Part::Learning, "policy", || scoring.policy())?;
    report.stage(Part::Learning, "repeated policy", || scoring.repeated())?;
    report.stage(Part::Optimizer, "optimizer", || scoring.optimizer(Kept::Beside))?;
    if precision.weights == DType::BF16 {
        let without = || scoring.optimizer(Kept::WithoutMasters);
        report.stage(Part::Optimizer, "bf16 masters", without)?;
    }
    if device.is_cuda() {
        report.stage(Part::Optimizer, "offload", || scoring.optimizer(Kept::OnHost))?;
    }
    Ok(())
}

/// Measures what was asked for, and prints each stage as it ends.
struct Report<'a> {
    args: &'a Args,
    printer: &'a mut Printer,
    failed: bool,
}

impl Report<'_> {
    fn stage(
        &mut self,
        part: Part,
        name: &'static str,
        run: impl FnOnce() -> candle_core::Result<Vec<(&'static str, f64)>>,
    ) -> anyhow::Result<()> {
        let only = &self.args.only;
        if !only.is_empty() && !only.contains(&part) {
            return Ok(());
        }
        self.done(&Stage::of(name, run))
    }

    fn done(&mut self, stage: &Stage) -> anyhow::Result<()> {
        self.failed |= stage.error.is_some();
        if self.args.json {
            return Ok(self.printer.json(stage)?);
        }
        Ok(self.printer.line(shown(stage))?)
    }
}

/// Nothing is measured with none of a thing.
fn at_least_one(text: &str) -> Result<usize, String> {
    let n: usize = text.parse().map_err(|_| "expected a whole number".to_owned())?;
    if n == 0 { Err("expected at least 1".to_owned()) } else { Ok(n) }
}

fn shown(stage: &Stage) -> String {
    let figures: Vec<String> =
        stage.figures.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    let outcome = stage.error.clone().unwrap_or_else(|| figures.join("; "));
    format!("{:<18} {:>6.1} s  {outcome}", stage.name, stage.seconds)
}
