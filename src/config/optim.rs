//! `[optim]`: AdamW, the learning rate over the run, gradient clipping.
//! Not here: the optimiser (`optim`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::update_span::UpdateSpan;
use super::violation::{Violation, not_negative, positive, require};

/// `[optim]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// The highest learning rate, reached after the warm-up.
    pub lr: f64,
    /// How the learning rate moves after the warm-up.
    pub schedule: LrScheduleKind,
    /// How long the learning rate rises from 0.
    pub warmup: UpdateSpan,
    /// Decay of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decays norms and biases as well.
    pub decay_norms_and_biases: bool,
    /// The gradient's global norm is scaled down to it; 0 turns clipping off.
    pub clip_norm: f64,
    /// What a model in bf16 is moved through: master weights in f32, or its own weights, which are rounded by chance; no memory
    /// for masters.
    pub masters: MasterWeights,
    /// What the gradients of a model in bf16 are added up in: f32, or bf16, which takes half the memory and rounds a sum each time
    /// that something is added.
    pub gradients: GradientSums,
    /// Keeps Adam's moments and the master weights in the host's memory while the model is on a GPU: the same numbers, more
    /// time.
    pub offload: bool,
}

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LrScheduleKind {
    /// Stays.
    Constant,
    /// Falls on a line to 0 at the end of the run.
    Linear,
    /// Falls on half a cosine wave to 0 at the end of the run.
    Cosine,
}

/// What the weights of a model in bf16 are moved through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MasterWeights {
    /// Copies of them in f32.
    F32,
    /// Themselves, rounded by chance.
    Bf16,
}

/// What the gradients of a model in bf16 are added up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GradientSums {
    /// Numbers of 32 bits.
    F32,
    /// Numbers of 16 bits, as the weights.
    Bf16,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-6,                         // R1-V: TRL 0.14's default
            schedule: LrScheduleKind::Linear, // R1-V: transformers' default, linear to 0
            warmup: UpdateSpan::Updates(0),   // R1-V: transformers' default
            betas: [0.9, 0.999],              // transformers: adam_beta1, adam_beta2
            eps: 1e-8,                        // transformers: adam_epsilon
            weight_decay: 0.0,                // transformers: weight_decay
            decay_norms_and_biases: false,    // transformers: get_decay_parameter_names
            clip_norm: 1.0,                   // transformers: max_grad_norm
            masters: MasterWeights::F32,      // DeepSpeed, which R1-V's scripts run under
            gradients: GradientSums::F32,
            offload: false, // R1-V: zero3.json
        }
    }
}

impl OptimConfig {
    pub(super) fn check(&self) -> Result<(), Violation> {
        positive("optim.lr", self.lr, "1e-6 is usual for a 2B model, 1e-4 for the tiny one")?;
        let [first, second] = self.betas;
        require(
            (0.0..1.0).contains(&first) && (0.0..1.0).contains(&second),
            "optim.betas",
            format!("[{first}, {second}]"),
            "two numbers of at least 0 and below 1",
            "[0.9, 0.999] is usual",
        )?;
        positive("optim.eps", self.eps, "1e-8 is usual")?;
        not_negative("optim.weight_decay", self.weight_decay, "0 turns it off")?;
        not_negative("optim.clip_norm", self.clip_norm, "1 is usual, 0 turns clipping off")
    }
}
