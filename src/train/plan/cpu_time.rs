//! The stages of an update on the CPU, from its speed, which is measured now, and the number of operations.
//! Not here: a GPU's (`gpu_time`), what an update computes on (`workload`).
//!
//! Two speeds are measured: of large matrix products, which training and prefilling are made of, and of reading weights,
//! which decoding waits for. What neither covers (norms, attention's softmax, the optimiser) is left out: the estimate is
//! a lower bound.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

use super::memory::parameters;
use super::time::{Bound, StageTime};
use super::workload::Workload;
use crate::config::{CheckpointingChoice, Method, RunConfig};
use crate::model::config::ModelConfig;
use crate::model::parameters::ParameterGroup;
use crate::train::settings::kl_schedule;

/// Rows of the large product that is timed.
const ROWS: usize = 256;
/// How long each speed is measured, s.
const PATIENCE_S: f64 = 0.1;

/// What the machine does in a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// Operations of large matrix products, a multiplication and an addition being two.
    pub(super) operations: f64,
    /// Bytes of weights read by products with few rows.
    pub(super) bytes: f64,
    /// Bytes of a weight.
    pub(super) width: f64,
}

impl Speed {
    /// Times products of the model's own shapes.
    ///
    /// # Errors
    /// The device's own.
    pub(super) fn measure(model: &ModelConfig, dtype: DType, device: &Device) -> Result<Self> {
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

/// The stages of one update at the longest.
pub(super) fn stages(
    config: &RunConfig,
    model: &ModelConfig,
    work: &Workload,
    speed: Speed,
) -> Vec<StageTime> {
    let vision = parameters(model, |p| p.group == ParameterGroup::Vision) as f64;
    // The layers and the last norm: a token reads one row of the embedding, and the head is counted separately.
    let language = parameters(model, |p| {
        p.group == ParameterGroup::Language
            && p.name.starts_with("model.")
            && !p.name.starts_with("model.embed_tokens")
    }) as f64;
    let head = (model.text.vocab_size * model.text.hidden_size) as f64;
    let forward = |tokens: usize, scored: usize, patches: usize| {
        2.0 * (language * tokens as f64 + head * scored as f64 + vision * patches as f64)
    };
    let stream: f64 = work.streams.iter().map(|s| forward(s.tokens, s.scored, s.patches)).sum();
    // A backward pass costs two forward passes, activation checkpointing one more. Not counted: without checkpointing
    // the head computes its logits again too.
    let again = match config.model.activation_checkpointing {
        CheckpointingChoice::None => 0.0,
        CheckpointingChoice::Mlp => 0.5,
        CheckpointingChoice::Full => 1.0,
    };
    // Where low-rank factors alone are trained, one of the two.
    let passes = again + if config.model.lora.is_some() { 2.0 } else { 3.0 };
    let computed =
        |name, operations| StageTime::at(name, Bound::Products, operations, speed.operations);
    let mut stages = Vec::new();
    if config.method != Method::Sft && config.rollout.replay.is_none() {
        let prefill = work.prompts as f64 * forward(work.prompt_tokens, 1, work.patches);
        let completions = work.completions();
        let places = config.rollout.max_batch.min(completions);
        let decoded = (completions * work.completion_tokens) as f64;
        let steps = decoded / places as f64;
        let bytes = steps * (language + head) * speed.width;
        let reading = StageTime::at("decoding", Bound::Memory, bytes, speed.bytes);
        let computing = computed("decoding", decoded * 2.0 * (language + head));
        let decoding = if reading.seconds >= computing.seconds { reading } else { computing };
        stages.extend([computed("prefill", prefill), decoding]);
    }
    if kl_schedule(config, 1).needs_reference() {
        stages.push(computed("reference", stream));
    }
    stages.push(computed("policy", passes * stream));
    stages
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
mod tests {
    use super::super::test_model::{one_group, one_layer};
    use super::*;

    /// One operation and one byte a second, so that seconds count both.
    #[test]
    fn the_head_is_counted_once_whether_or_not_it_is_the_embedding() {
        let work = one_group();
        let speed = Speed { operations: 1.0, bytes: 1.0, width: 8.0 };
        // 2 * (520 * 10 + 128 * 3 + 2128 * 4), forward and twice that backward.
        let training = 3.0 * 28_192.0;
        // 2 * (520 * 7 + 128 + 2128 * 4) for the prompt; 5 steps that read 520 + 128 weights of 8 bytes.
        let sampling = 24_560.0 + 5.0 * 648.0 * 8.0;
        let mut config = RunConfig::default();
        config.kl.schedule = crate::config::KlScheduleKind::Zero;
        for (method, expected) in [(Method::Sft, training), (Method::Grpo, training + sampling)] {
            config.method = method;
            for is_tied in [true, false] {
                let stages = stages(&config, &one_layer(is_tied), &work, speed);
                let seconds: f64 = stages.iter().map(|stage| stage.seconds).sum();
                assert_eq!(seconds, expected, "{method:?}, tied: {is_tied}");
            }
        }
    }
}
