//! How long an update takes, from the machine's speed and the operations that there are to do.
//! Not here: what there is to do (`workload`).
//!
//! Two speeds are measured: of large matrix products, which training and prefilling are made of, and of reading weights,
//! which decoding waits for. What neither covers (norms, attention's softmax, the optimiser) is left out: the estimate is
//! a lower bound.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

use super::memory::parameters;
use super::workload::Workload;
use crate::config::{Method, RunConfig};
use crate::model::config::Qwen2VlConfig;
use crate::model::parameters::ParameterGroup;
use crate::train::settings::kl_schedule;

/// Rows of the large product that is timed.
const ROWS: usize = 256;
/// How long each speed is measured, s.
const PATIENCE_S: f64 = 0.1;

/// What the machine does in a second.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Operations of large matrix products, a multiplication and an addition being two.
    pub operations: f64,
    /// Bytes of weights read by products with few rows.
    pub bytes: f64,
    /// Bytes of a weight.
    pub width: f64,
}

impl Speed {
    /// Times products of the model's own shapes.
    ///
    /// # Errors
    /// The device's own.
    pub fn measure(model: &Qwen2VlConfig, dtype: DType, device: &Device) -> Result<Self> {
        let (inner, outer) = (model.text.hidden_size, model.text.intermediate_size);
        let weight = Tensor::zeros((outer, inner), dtype, device)?;
        let seconds = |rows: usize| -> Result<f64> {
            let x = Tensor::zeros((rows, inner), dtype, device)?;
            x.matmul(&weight.t()?)?;
            device.synchronize()?;
            let (started, mut n) = (Instant::now(), 0);
            while started.elapsed().as_secs_f64() < PATIENCE_S {
                x.matmul(&weight.t()?)?;
                device.synchronize()?;
                n += 1;
            }
            Ok(started.elapsed().as_secs_f64() / f64::from(n))
        };
        let operations = (2 * ROWS * inner * outer) as f64 / seconds(ROWS)?;
        let width = dtype.size_in_bytes() as f64;
        let bytes = (inner * outer) as f64 * width / seconds(1)?;
        Ok(Self { operations, bytes, width })
    }
}

/// Seconds of one update at the longest.
pub(super) fn seconds_per_update(
    config: &RunConfig,
    model: &Qwen2VlConfig,
    work: &Workload,
    speed: Speed,
) -> f64 {
    let vision = parameters(model, |p| p.group == ParameterGroup::Vision) as f64;
    let language = parameters(model, |p| {
        p.group == ParameterGroup::Language && !p.name.starts_with("model.embed_tokens")
    }) as f64;
    let head = (model.text.vocab_size * model.text.hidden_size) as f64;
    let forward = |tokens: usize, scored: usize, patches: usize| {
        2.0 * (language * tokens as f64 + head * scored as f64 + vision * patches as f64)
    };
    let stream: f64 = work.streams.iter().map(|s| forward(s.tokens, s.scored, s.patches)).sum();
    // A backward pass costs two forward ones, and the head's a third for logits made anew.
    let passes = if config.model.activation_checkpointing { 4.0 } else { 3.0 };
    let mut operations = passes * stream;
    if kl_schedule(config, 1).needs_reference() {
        operations += stream;
    }
    if config.method == Method::Sft {
        return operations / speed.operations;
    }
    operations += work.prompts as f64 * forward(work.prompt_tokens, 1, work.patches);
    let completions = work.completions();
    let places = config.rollout.max_batch.min(completions);
    let decoded = (completions * work.completion_tokens) as f64;
    let steps = decoded / places as f64;
    let reading = steps * (language + head) * speed.width / speed.bytes;
    let computing = decoded * 2.0 * (language + head) / speed.operations;
    operations / speed.operations + reading.max(computing)
}
