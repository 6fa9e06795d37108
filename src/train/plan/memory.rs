//! What a run holds in memory at its peak, by component.
//!
//! On the CPU the components follow the code: what each layer's tape keeps is counted beside the layer (`model`), half a
//! layer's gradients are added during its backward pass, and the head holds blocks of logits (`ops::head_numbers`). A
//! test compares the sum with measured peaks.
//! Not here: what is computed (`workload`), a GPU's memory (`gpu_memory`).

use candle_core::{DType, Device};
use serde::Serialize;

use super::gpu_memory::gpu_memory;
use super::held::{Learning, Operations, held};
use super::workload::{Stream, Workload};
use crate::config::{CheckpointingChoice, MasterWeights, Method, RunConfig};
use crate::model::config::ModelConfig;
use crate::model::device::DeviceKind;
use crate::model::parameters::ParameterShape;
use crate::model::stages::Kept;
use crate::ops::{self, Path};
use crate::run_folder::metrics::resident_bytes;
use crate::train::reference::is_read_again;
use crate::train::settings::{kl_schedule, lora, precision, trained, trains_vision};

const F32: u64 = 4;
/// Threads, buffers of matrix products and freed memory that the allocator keeps, measured on the CPU: this many bytes,
/// and a fraction `1 / KEPT_ONE_IN` of the memory that is allocated and freed at every update.
const KEPT_BYTES: u64 = 55_000_000;
const KEPT_ONE_IN: u64 = 12;

/// Bytes at the peak, by component: of the CPU's memory, or of a GPU's. What a device does not hold is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The policy's parameters.
    pub weights: u64,
    /// Their gradients, in f32 or, where `optim.gradients` says so, in bf16; the reference is in their place between one backward pass and the next, but on the CPU in 16 bits.
    pub gradients: u64,
    /// Adam's two moments, in f32, and f32 master weights where the parameters are narrower; on a GPU 0 where they are in the
    /// host's memory.
    pub optimizer: u64,
    /// A copy of the parameters that are trained, for the reference, on the CPU in 16 bits; 0 where no KL term needs one, and elsewhere.
    pub reference: u64,
    /// Keys and values of rollouts, and their logits; not held while activations are. On a GPU, and on the CPU in 16 bits, also those
    /// of the run's evaluation, where they are more.
    pub rollout: u64,
    /// What the backward pass of the largest packed stream keeps; on the CPU in f32 one layer's gradients among it.
    pub activations: u64,
    /// On a GPU, and on the CPU in 16 bits: one layer's gradients, and what is computed again of it.
    pub temporaries: u64,
    /// The head's logits that exist at once, or their gradients; freed before `temporaries` are held.
    pub logits: u64,
    /// Pictures as patches: on the CPU those of the update's prompts and of the prompts made ahead, on a GPU those of one
    /// packed stream, on the CPU in 16 bits both.
    pub pictures: u64,
    /// On the CPU: the program itself, its tokenizer and the data's text, as they are now; threads, buffers, and freed memory
    /// that the allocator keeps.
    pub program: u64,
    /// On a GPU: what the driver and CUDA's libraries take.
    pub driver: u64,
    /// What is held while the policy learns and not always: the most that the backward pass of a packed stream holds.
    #[serde(skip)]
    pub(in crate::train) learning: u64,
    /// All that is held at once at the peak.
    pub total: u64,
}

impl Memory {
    /// What is held in every stage.
    pub(super) fn always(&self) -> u64 {
        self.total - self.learning.max(self.rollout)
    }

    /// Of the device's own memory; what a run on a GPU holds of the host's is in `host`.
    pub(super) fn of(
        config: &RunConfig,
        model: &ModelConfig,
        work: &Workload,
        (dtype, kind): (DType, DeviceKind),
    ) -> Self {
        match kind {
            DeviceKind::Cpu => cpu_memory(config, model, work, dtype),
            DeviceKind::Gpu => gpu_memory(config, model, work, dtype),
        }
    }
}

fn cpu_memory(config: &RunConfig, model: &ModelConfig, work: &Workload, dtype: DType) -> Memory {
    let width = dtype.size_in_bytes() as u64;
    let (all, trained) = (parameters(model, |_| true), trained_parameters(config, model));
    let is_read_again = is_read_again((dtype, &Device::Cpu));
    let copied = if is_read_again { 0 } else { copied_for_reference(config, model) };
    let computed = if Path::resolve(&Device::Cpu, dtype) == Path::Cpu {
        of_kernels(config, model, work, width)
    } else {
        of_compositions(config, model, work, dtype)
    };
    let ahead = pictures_ahead(config, model, work);
    let mut memory = Memory {
        weights: (all + factors(config, model)) * width,
        gradients: gradient_bytes(config, trained, dtype),
        optimizer: optimizer_bytes(config, trained, dtype),
        reference: copied * width,
        pictures: computed.pictures + ahead,
        program: resident_bytes().unwrap_or(0) + KEPT_BYTES,
        ..computed
    };
    let learning = memory.activations + memory.temporaries;
    let passing = learning.max(memory.rollout) + memory.pictures;
    memory.program += passing / KEPT_ONE_IN;
    let state = memory.weights + memory.gradients + memory.optimizer + memory.reference;
    memory.total = state + ahead + memory.program + memory.learning.max(memory.rollout);
    memory
}

/// What learning and rollouts hold where the CPU has kernels.
fn of_kernels(config: &RunConfig, model: &ModelConfig, work: &Workload, width: u64) -> Memory {
    let taped = work.streams.iter().map(|stream| activations(config, model, stream) * width);
    let scored = work.streams.iter().map(|stream| stream.scored).max().unwrap_or(0);
    // The backward pass overwrites them with their gradients.
    let logits = ops::head_numbers(scored, model.text.vocab_size, model.text.hidden_size);
    let (activations, logits) = (taped.max().unwrap_or(0), logits as u64 * F32);
    let samples = config.method != Method::Sft;
    let rollout = if samples { rollout(config, model, work) * width } else { 0 };
    Memory { rollout, activations, logits, learning: activations + logits, ..Memory::default() }
}

/// The same where candle's operations compute, as they do on a GPU.
fn of_compositions(
    config: &RunConfig,
    model: &ModelConfig,
    work: &Workload,
    dtype: DType,
) -> Memory {
    let (learning, rollout) = held(config, model, work, (dtype, Operations::Compositions));
    let Learning { activations, pictures, logits, temporaries, .. } = learning;
    let learning = learning.peak();
    Memory { rollout, activations, temporaries, logits, pictures, learning, ..Memory::default() }
}

/// Numbers of a copy of the weights for the reference: those that are trained, where it is not the policy without its factors.
pub(super) fn copied_for_reference(config: &RunConfig, model: &ModelConfig) -> u64 {
    let needs_copy = kl_schedule(config, 1).needs_reference() && config.model.lora.is_none();
    if needs_copy { trained_parameters(config, model) } else { 0 }
}

/// Gradients of the trained parameters.
///
/// - `dtype`: that of the parameters
pub(super) fn gradient_bytes(config: &RunConfig, trained: u64, dtype: DType) -> u64 {
    trained * precision(config, dtype).gradients.size_in_bytes() as u64
}

/// Adam's two moments of the trained parameters, and f32 master weights where parameters in 16 bits have some.
pub(super) fn optimizer_bytes(config: &RunConfig, trained: u64, dtype: DType) -> u64 {
    let master = match (dtype, config.optim.masters) {
        (DType::F32, _) | (_, MasterWeights::Bf16) => 0,
        (_, MasterWeights::F32) => F32,
    };
    trained * (2 * F32 + master)
}

/// Patches of the update's prompts and of the prompts made ahead, in bytes of the host's memory.
pub(super) fn pictures_ahead(config: &RunConfig, model: &ModelConfig, work: &Workload) -> u64 {
    let patches = (work.prompts + config.data.prefetch) as u64 * work.patches as u64;
    patches * model.vision.patch_dim() as u64 * F32
}

/// Elements of the parameters that `is_wanted` selects.
pub(super) fn parameters(model: &ModelConfig, is_wanted: impl Fn(&ParameterShape) -> bool) -> u64 {
    let shapes = model.parameter_shapes().into_iter();
    shapes.filter(is_wanted).map(|parameter| parameter.elem_count() as u64).sum()
}

/// Numbers of the low-rank factors; 0 where there are none, or their targets are not the model's, which is said elsewhere.
pub(super) fn factors(config: &RunConfig, model: &ModelConfig) -> u64 {
    let count = lora(config).map(|lora| lora.elem_count(model));
    count.and_then(Result::ok).unwrap_or(0) as u64
}

/// Numbers of the weights that low-rank factors change.
pub(super) fn merged(config: &RunConfig, model: &ModelConfig) -> u64 {
    merged_each(config, model).iter().sum()
}

/// Numbers of the largest of them.
pub(super) fn largest_merged(config: &RunConfig, model: &ModelConfig) -> u64 {
    merged_each(config, model).into_iter().max().unwrap_or(0)
}

fn merged_each(config: &RunConfig, model: &ModelConfig) -> Vec<u64> {
    let maps = lora(config).and_then(|lora| lora.maps(model).ok()).unwrap_or_default();
    maps.iter().map(|map| (map.out * map.inner) as u64).collect()
}

/// Numbers of the largest input that dropout is applied to in a stream; 0 where there is no dropout.
pub(super) fn dropped(config: &RunConfig, model: &ModelConfig, stream: &Stream) -> u64 {
    let lora = lora(config).filter(|lora| lora.dropout > 0.0);
    let maps = lora.and_then(|lora| lora.maps(model).ok()).unwrap_or_default();
    let numbers = maps.iter().map(|map| map.inner * stream.rows(map.group));
    numbers.max().unwrap_or(0) as u64
}

/// Parameters that are trained.
pub(super) fn trained_parameters(config: &RunConfig, model: &ModelConfig) -> u64 {
    if config.model.lora.is_some() {
        return factors(config, model);
    }
    let trained = trained(config);
    parameters(model, |parameter| trained.contains(parameter.group))
}

/// Elements that a stream's tape holds when the backward pass begins, and the gradients of half a layer.
fn activations(config: &RunConfig, model: &ModelConfig, stream: &Stream) -> u64 {
    let (layer, block) = (model.kept_by_layer(), model.kept_by_block());
    let hidden = model.text.hidden_size as u64 * stream.tokens as u64;
    let patch = model.vision.embed_dim as u64 * stream.patches as u64;
    let (layers, blocks) = (model.text.num_hidden_layers as u64, model.vision.depth as u64);
    // Two copies: the stream's, and the tensor made of it. The tape makes two more, of gradients, when all else of it is gone.
    let patches = 2 * model.vision.patch_dim() as u64 * stream.patches as u64;
    let head = 3 * model.text.hidden_size as u64 * stream.scored as u64;
    let checkpointing = config.model.activation_checkpointing;
    let merger = match checkpointing {
        CheckpointingChoice::None => (model.kept_by_merger() * stream.patches) as u64,
        CheckpointingChoice::Mlp | CheckpointingChoice::Full => 0,
    };
    // The backward pass of a half computes what is not kept again, beside its gradients.
    let half = |kept: Kept, rows| (2 * kept.mix.max(kept.mlp) * rows) as u64;
    let (of_layer, of_block) = (half(layer, stream.tokens), half(block, stream.patches));
    let language = kept(checkpointing, layer, layers, stream.tokens, hidden) + head;
    // A tower that is not trained leaves no tape: what a block holds, and the next one's.
    let vision = if trains_vision(config) {
        kept(checkpointing, block, blocks, stream.patches, patch) + merger
    } else {
        2 * ((block.mix + block.mlp) * stream.patches) as u64
    };
    // The decoder's tape is gone when the tower's is run.
    let learning = (vision + (language + of_layer).max(of_block)).max(patches);
    // What is left of a map's input, and the gradient to that.
    let dropped = 2 * dropped(config, model, stream);
    patches + learning + dropped
}

/// Elements that the tapes of `n` layers on `rows` rows hold, and of the one half that is computed again; `input` elements
/// are a half's input.
fn kept(checkpointing: CheckpointingChoice, layer: Kept, n: u64, rows: usize, input: u64) -> u64 {
    let [mix, mlp] = [layer.mix, layer.mlp].map(|elements| (elements * rows) as u64);
    match checkpointing {
        CheckpointingChoice::None => n * (mix + mlp),
        CheckpointingChoice::Mlp => n * (mix + input) + mlp,
        CheckpointingChoice::Full => n * 2 * input + mix.max(mlp),
    }
}

/// Elements that rollouts hold: suffix caches of all slots, caches of the prompts being decoded, and logits of a step.
fn rollout(config: &RunConfig, model: &ModelConfig, work: &Workload) -> u64 {
    let text = &model.text;
    let per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim();
    let places = config.rollout.max_batch.min(work.completions() * config.grpo.mini_batches);
    let prompts = places.div_ceil(work.group_size) + 1;
    let cached = places * work.completion_tokens + prompts * work.prompt_tokens;
    let [prefill, vision] =
        [(model.kept_by_layer(), work.prompt_tokens), (model.kept_by_block(), work.patches)]
            .map(|(kept, rows)| (kept.mix + kept.mlp) * rows);
    let prefill = prefill.max(vision);
    (cached * per_token + prefill + 2 * places * text.vocab_size) as u64
}

#[cfg(test)]
mod tests {
    use super::super::test_model::{one_group, one_layer};
    use super::*;
    use crate::config::LoraConfig;

    /// Two numbers beside each input and output of the decoder's seven maps: 2 * 116; the maps themselves have 480 numbers.
    #[test]
    fn low_rank_factors_are_all_that_is_trained_and_no_copy_is_the_reference() {
        let mut config = RunConfig::default();
        config.model.lora = Some(LoraConfig { rank: 2, ..LoraConfig::default() });
        let (model, work) = (one_layer(true), one_group());
        let of = |config: &RunConfig, kind, dtype| Memory::of(config, &model, &work, (dtype, kind));
        let whole = RunConfig::default();
        for (kind, dtype, width) in
            [(DeviceKind::Cpu, DType::F32, 4), (DeviceKind::Gpu, DType::BF16, 2)]
        {
            let (memory, of_whole) = (of(&config, kind, dtype), of(&whole, kind, dtype));
            assert_eq!((memory.weights, memory.gradients), ((2776 + 232) * width, 232 * 4));
            assert_eq!((memory.reference, of_whole.reference), (0, 0), "in the gradients' memory");
            let masters = if dtype == DType::BF16 { 4 } else { 0 };
            assert_eq!(memory.optimizer, 232 * (8 + masters));
            assert_eq!(memory.rollout, of_whole.rollout, "weights are merged in place");
            let mut frozen = RunConfig::default();
            frozen.model.freeze_vision = true;
            assert_eq!(memory.activations, of(&frozen, kind, dtype).activations, "no tape");
            let mut tower = config.clone();
            tower.model.lora = Some(LoraConfig { rank: 2, vision: true, ..LoraConfig::default() });
            assert_eq!(of(&tower, kind, dtype).activations, of_whole.activations);
            let mut dropped = config.clone();
            let factors = LoraConfig { rank: 2, dropout: 0.1, ..LoraConfig::default() };
            dropped.model.lora = Some(factors);
            let held = |memory: Memory| memory.activations + memory.temporaries;
            let learning = held(of(&dropped, kind, dtype)) - held(memory);
            let (tokens, widest) = (work.streams[0].tokens, model.text.intermediate_size);
            let arrays = if kind == DeviceKind::Gpu { 1 } else { 2 };
            assert_eq!(learning, (arrays * tokens * widest) as u64 * width);
        }
    }
}
