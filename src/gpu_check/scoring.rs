//! The parts of an update that learn: scoring as the reference does, scoring with a backward pass, the optimiser's step.
//! Not here: sampling completions.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::median_seconds;
use super::random_model::{StreamShape, random_model, stream};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::model::gpu;
use crate::model::packed::Packed;
use crate::model::parameters::{ParameterGroup, ParameterShape, Trained};
use crate::model::stages::Checkpointing;
use crate::ops::Parameter;
use crate::optim::adamw::AdamWSettings;
use crate::optim::lr_schedule::{Decay, LrSchedule};
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

impl Scoring {
    /// Makes the model and the stream.
    ///
    /// # Errors
    /// The device has no room for the model.
    pub fn new(
        config: &ModelConfig,
        dtype: DType,
        device: &Device,
        settings: Settings,
    ) -> Result<Self> {
        let model = random_model(config, dtype, device, Trained::All)?;
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
        let operations = self.operations().iter().sum();
        Ok(self.figures(seconds, operations, operations))
    }

    /// Scoring and its backward pass to every parameter.
    ///
    /// # Errors
    /// The device's own.
    pub fn policy(&self) -> Result<Vec<(&'static str, f64)>> {
        self.reset_peak()?;
        let seconds = median_seconds(self.device(), self.settings.repetitions, || self.learn())?;
        let [layers, head] = self.operations();
        let mlps = self.mlp_operations();
        // A backward pass costs two forward passes, and what is computed again one more, as the head's logits are.
        let again = match self.settings.checkpointing {
            Checkpointing::None => 0.0,
            Checkpointing::Mlp => mlps,
            Checkpointing::Full => layers,
        };
        Ok(self.figures(seconds, 3.0 * (layers + head), 3.0 * layers + again + 4.0 * head))
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
        let mut figures = vec![
            ("seconds", seconds),
            ("traffic, TB/s", (n * self.moved_bytes(kept)) as f64 / seconds / 1e12),
        ];
        figures.extend(self.peak());
        Ok(figures)
    }

    /// Bytes that a step moves for a number of the model. The norm reads the gradient; the step reads it again, reads and
    /// writes both moments and what is moved, and writes the parameter where that has a master.
    fn moved_bytes(&self, kept: Kept) -> usize {
        let (gradient, moments) = (4 + 4, 2 * (4 + 4));
        let width = self.model.dtype().size_in_bytes();
        let is_moved_itself = width >= 4 || kept == Kept::WithoutMasters;
        gradient + moments + if is_moved_itself { 2 * width } else { 2 * 4 + width }
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

    /// Numbers of the parameters that are wanted.
    fn elements(&self, wanted: impl Fn(&ParameterShape) -> bool) -> f64 {
        let shapes = self.config.parameter_shapes();
        shapes.iter().filter(|s| wanted(s)).map(|s| s.elem_count() as f64).sum()
    }

    fn patches(&self) -> f64 {
        (self.settings.shape.prompts * self.settings.shape.image_side.pow(2)) as f64
    }

    /// Operations of all MLPs in one forward pass.
    fn mlp_operations(&self) -> f64 {
        let of = |group| self.elements(|s| s.group == group && s.name.contains(".mlp."));
        let tower = of(ParameterGroup::Vision) * self.patches();
        2.0 * (tower + of(ParameterGroup::Language) * self.packed.len() as f64)
    }

    /// Operations of one forward pass, a multiplication and an addition being two: those of the tower and the layers, and
    /// those of the head.
    fn operations(&self) -> [f64; 2] {
        let (text, vision) = (&self.config.text, &self.config.vision);
        let shape = self.settings.shape;
        let tower = self.elements(|s| s.group == ParameterGroup::Vision);
        let layers = self.elements(|s| s.name.starts_with("model.layers"));
        let (tokens, patches) = (self.packed.len() as f64, self.patches());
        let prompt = (self.packed.len() / shape.prompts) as f64
            - (shape.group_size * (shape.completion_tokens - 1)) as f64;
        let completion = (shape.completion_tokens - 1) as f64;
        let pairs = prompt * prompt / 2.0
            + shape.group_size as f64 * (completion * prompt + completion * completion / 2.0);
        let text_attention = 4.0
            * (text.num_hidden_layers * text.num_attention_heads * text.head_dim()) as f64
            * pairs
            * shape.prompts as f64;
        let image = (shape.image_side.pow(4) * shape.prompts) as f64;
        let vision_attention = 4.0 * (vision.depth * vision.embed_dim) as f64 * image;
        let head = (text.hidden_size * text.vocab_size) as f64;
        let scored = self.packed.targets.len() as f64;
        [
            2.0 * (tower * patches + layers * tokens) + text_attention + vision_attention,
            2.0 * head * scored,
        ]
    }
}
