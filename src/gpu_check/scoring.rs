//! The parts of an update that learn: scoring as the reference does, scoring with a backward pass, the optimiser's step.
//! Not here: sampling completions.

use candle_core::{DType, Device, Error, Result, Tensor, bail};

use super::median_seconds;
use super::random_model::{StreamShape, random_model, stream};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::model::gpu;
use crate::model::lora::Lora;
use crate::model::packed::Packed;
use crate::model::parameters::Trained;
use crate::model::precision::Precision;
use crate::model::stages::Checkpointing;
use crate::ops::Parameter;
use crate::optim::adamw::AdamWSettings;
use crate::optim::lr_schedule::{Decay, LrSchedule};
use crate::train::plan::operations::{Forward, Sequences, Trains};
use crate::train::plan::traffic::OptimizerStep;
use crate::train::ranks::Solo;
use crate::train::step::{Optimizer, OptimizerSettings};

const TEMPERATURE: f64 = 1.0;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The stream that is scored.
    pub shape: StreamShape,
    /// What the backward pass computes again.
    pub checkpointing: Checkpointing,
    /// Runs of each part, after one that is not counted.
    pub repetitions: usize,
    /// Rank of the factors that are trained in the place of the model's own weights.
    pub lora_rank: Option<usize>,
}

/// What is kept of the parameters for the optimiser's step, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Master weights where they are needed, and moments, on the device.
    Beside,
    /// Moments alone, on the device; weights in bf16 are rounded by chance.
    WithoutMasters,
    /// As `Beside`, but in the host's memory.
    OnHost,
}

/// A model in training that is measured.
pub struct Scoring {
    model: Model,
    packed: Packed,
    settings: Settings,
    config: ModelConfig,
}

/// A random model with fresh factors for all maps of the decoder.
fn with_factors(
    config: &ModelConfig,
    rank: usize,
    precision: Precision,
    device: &Device,
) -> Result<Model> {
    let (alpha, rslora, targets, vision, dropout) = (rank as f64, false, None, false, 0.0);
    let lora = Lora { rank, alpha, rslora, targets, vision, dropout };
    let Precision { weights, gradients } = precision;
    let base = random_model(config, precision, device, Trained::Nothing)?;
    let factors = lora.fresh(config, (weights, device), 0).map_err(Error::wrap)?;
    Model::new(config, base.parameters().with_factors(factors, lora.scale(), Some(gradients))?)
}

impl Scoring {
    /// Makes the model and the stream.
    ///
    /// # Errors
    /// The device has no room for the model.
    pub fn new(
        config: &ModelConfig,
        precision: Precision,
        device: &Device,
        settings: Settings,
    ) -> Result<Self> {
        let model = match settings.lora_rank {
            None => random_model(config, precision, device, Trained::All)?,
            Some(rank) => with_factors(config, rank, precision, device)?,
        };
        let packed = stream(config, settings.shape)?;
        Ok(Self { model, packed, settings, config: config.clone() })
    }

    /// The model without what learning holds, sharing its weights.
    ///
    /// # Errors
    /// A shape does not fit.
    pub fn detached(&self) -> Result<Model> {
        self.model.detached()
    }

    /// Scoring without a backward pass.
    ///
    /// # Errors
    /// The device's own.
    pub fn reference(&self) -> Result<Vec<(&'static str, f64)>> {
        let model = self.model.detached()?;
        self.reset_peak()?;
        let seconds = median_seconds(self.device(), self.settings.repetitions, || {
            model.token_logps(&self.packed, TEMPERATURE).map(|_| ())
        })?;
        let operations = self.forward().total();
        Ok(self.figures(seconds, operations, operations))
    }

    /// Scoring and its backward pass to every parameter.
    ///
    /// # Errors
    /// The device's own.
    pub fn policy(&self) -> Result<Vec<(&'static str, f64)>> {
        self.reset_peak()?;
        let seconds = median_seconds(self.device(), self.settings.repetitions, || self.learn())?;
        let forward = self.forward();
        let trains_weights = self.settings.lora_rank.is_none();
        let trains = Trains { vision: trains_weights, weights: trains_weights };
        let performed = forward.learned(self.settings.checkpointing, trains);
        Ok(self.figures(seconds, 3.0 * forward.total(), performed))
    }

    /// Whether two backward passes give the same bits: how many numbers of all gradients differ.
    ///
    /// # Errors
    /// The device's own; a gradient that is not finite.
    pub fn repeated(&self) -> Result<Vec<(&'static str, f64)>> {
        let mut copies = Vec::new();
        for _ in 0..2 {
            self.learn()?;
            let gradients = self.model.parameters().trained().map(|p| {
                let Some(gradient) = p.gradient() else { bail!("{} has no gradient", p.name()) };
                gradient.flatten_all()?.force_contiguous() // a copy, of this part of the arena alone
            });
            copies.push(gradients.collect::<Result<Vec<Tensor>>>()?);
        }
        let (mut differing, mut squares) = (0.0, 0.0);
        for (a, b) in copies[0].iter().zip(&copies[1]) {
            differing += f64::from(a.ne(b)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?);
            squares += f64::from(a.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        if !squares.is_finite() {
            bail!("a gradient is not finite");
        }
        Ok(vec![("numbers that differ", differing), ("gradient norm", squares.sqrt())])
    }

    /// The optimiser's step over all parameters.
    ///
    /// # Errors
    /// The device's own.
    pub fn optimizer(&self, kept: Kept) -> Result<Vec<(&'static str, f64)>> {
        let (total_updates, base_lr) = (1000, 1e-6);
        let settings = OptimizerSettings {
            adamw: AdamWSettings::default(),
            schedule: LrSchedule {
                decay: Decay::Constant,
                base_lr,
                warmup_updates: 0,
                total_updates,
            },
            clip_norm: 1.0,
            decay_vectors: false,
            rounds_weights: kept == Kept::WithoutMasters,
            seed: 0,
            offload: kept == Kept::OnHost,
        };
        self.reset_peak()?;
        let parameters = self.model.parameters();
        let mut optimizer = Optimizer::new(settings, parameters)?;
        let seconds = median_seconds(self.device(), self.settings.repetitions, || {
            parameters.trained().try_for_each(Parameter::complete_gradient)?;
            optimizer.step(parameters, 0, &Solo).map(|_| ())
        })?;
        let n: usize = parameters.trained().map(|p| p.value().elem_count()).sum();
        let width = self.model.dtype().size_in_bytes();
        let gradient =
            parameters.gradients().map_or(0, |all| all.numbers().dtype().size_in_bytes());
        let moved = n * OptimizerStep::of(width, gradient, kept != Kept::WithoutMasters).all;
        let mut figures =
            vec![("seconds", seconds), ("traffic, TB/s", moved as f64 / seconds / 1e12)];
        figures.extend(self.peak());
        Ok(figures)
    }

    fn learn(&self) -> Result<()> {
        let parameters = self.model.parameters();
        parameters.trained().for_each(Parameter::clear_gradient);
        let checkpointing = self.settings.checkpointing;
        let (scored, backward) =
            self.model.token_logps_taped(&self.packed, TEMPERATURE, checkpointing)?;
        let n = scored.logp.dim(0)?;
        let gradient: Vec<f32> = (0..n).map(|i| ((i % 5) as f32 - 1.9) / n as f32).collect();
        backward.run(&Tensor::new(gradient, self.device())?.to_dtype(scored.logp.dtype())?)
    }

    fn figures(&self, seconds: f64, needed: f64, performed: f64) -> Vec<(&'static str, f64)> {
        let mut figures = vec![
            ("seconds", seconds),
            ("performed, TFLOP/s", performed / seconds / 1e12),
            ("needed, TFLOP/s", needed / seconds / 1e12),
        ];
        figures.extend(self.peak());
        figures
    }

    /// A GPU's peak since it was counted anew; the CPU's is not measured.
    fn peak(&self) -> Option<(&'static str, f64)> {
        let bytes = gpu::peak_bytes(self.device()).ok()?;
        Some(("peak, GB", bytes as f64 / 1e9))
    }

    fn reset_peak(&self) -> Result<()> {
        if self.device().is_cpu() { Ok(()) } else { gpu::reset_peak(self.device()) }
    }

    fn device(&self) -> &Device {
        self.model.device()
    }

    /// Operations of one forward pass.
    fn forward(&self) -> Forward {
        let shape = self.settings.shape;
        let patches = shape.image_side.pow(2);
        let image_tokens = patches / self.config.vision.spatial_merge_size.pow(2);
        let sequences = Sequences {
            prompts: shape.prompts,
            prompt_tokens: shape.text_tokens + image_tokens,
            pictures: 1,
            patches,
            completions: shape.prompts * shape.group_size,
            completion_tokens: shape.completion_tokens,
        };
        Forward::of(&self.config, &sequences)
    }
}
