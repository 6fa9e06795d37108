//! What a run holds of a GPU's memory at its peak.
//!
//! In bf16 the kernels of `crates/cuda` compute, in f32 compositions of candle's operations (`held`). Host memory is apart
//! (`host`): pictures made ahead, the reference and the program itself are there.
//!
//! Tests compare what learning holds with the peaks of an H200, and whole runs with those of the emulated device.
//!
//! Not counted: what the driver's pool loses between blocks of different sizes, which is not known; the optimiser's step, which
//! holds less than the policy's backward pass, when nothing is kept for that.
//! Not here: what is computed (`workload`), what to change where it is too much (`fit`).

use candle_core::DType;

use super::held::{Operations, held};
use super::memory::{
    Memory, factors, gradient_bytes, optimizer_bytes, parameters, trained_parameters,
};
use super::workload::Workload;
use crate::config::RunConfig;
use crate::model::config::ModelConfig;

/// What the driver and CUDA's libraries hold of the GPU's memory for themselves, seen on an H200 as what was no longer free
/// once it had been opened; and the workspace of matrix products (`crates/cuda`, `device`).
pub(super) const DRIVER_BYTES: u64 = 600_000_000 + WORKSPACE;
/// A workspace of matrix products; those with a bias have another one while they run (`crates/cuda`, `product`).
pub(super) const WORKSPACE: u64 = 32 << 20;

/// Bytes that a run of this workload holds of a GPU's memory.
pub(super) fn gpu_memory(
    config: &RunConfig,
    model: &ModelConfig,
    work: &Workload,
    dtype: DType,
) -> Memory {
    let width = dtype.size_in_bytes() as u64;
    let operations =
        if dtype == DType::BF16 { Operations::Kernels } else { Operations::Compositions };
    let (all, trained) = (parameters(model, |_| true), trained_parameters(config, model));
    let factors = factors(config, model);
    let (learning, rollout) = held(config, model, work, (dtype, operations));
    let mut memory = Memory {
        // `model::weights`; trained ones are copied one by one into variables (`ops::Parameter`).
        weights: (all + factors) * width,
        // `ops::GradientArena`, made with the model.
        gradients: gradient_bytes(config, trained, dtype),
        // `optim::AdamW` and the masters of `train::step`.
        optimizer: if config.optim.offload { 0 } else { optimizer_bytes(config, trained, dtype) },
        // It is in the memory of the gradients while they are not (`train::uploaded_reference`).
        reference: 0,
        rollout,
        activations: learning.activations,
        temporaries: learning.temporaries,
        logits: learning.logits,
        pictures: learning.pictures,
        program: 0,
        driver: DRIVER_BYTES,
        learning: learning.peak(),
        total: 0,
    };
    let always = memory.weights + memory.gradients + memory.optimizer + memory.driver;
    memory.total = always + memory.learning.max(memory.rollout);
    memory
}

#[cfg(test)]
mod tests {
    use super::super::test_model::{groups_of_8, one_group, one_layer};
    use super::*;
    use crate::config::{CheckpointingChoice, GradientSums, MasterWeights, PAPERS_MODEL};
    use crate::model::published;

    fn planned(checkpointing: CheckpointingChoice, freeze_vision: bool) -> Memory {
        let work = one_group();
        let mut config = RunConfig::default();
        config.model.activation_checkpointing = checkpointing;
        config.model.freeze_vision = freeze_vision;
        gpu_memory(&config, &one_layer(true), &work, DType::BF16)
    }

    /// Numbers of 2 bytes, with the log-sum-exp of 2 heads in 4 bytes.
    #[test]
    fn every_buffer_of_one_layer_and_one_block_is_counted() {
        // A token in the first half: input and sum, queries and attention's result of 8 each; keys and values of 4. In the
        // MLP: 2 * 8, and gate and up of 12.
        let (mix, mlp) = (10 * (40 * 2 + 8), 10 * 40 * 2);
        // A patch: six times 8; 2 * 8 and the first map's 16.
        let (tower_mix, tower_mlp) = (4 * (48 * 2 + 8), 4 * 32 * 2);
        let (row, patch) = (10 * 8 * 2, 4 * 8 * 2);
        // All rows, and the 3 scored ones selected and normalised.
        let head = row + 2 * 3 * 8 * 2;
        let merger = [4 * (3 * 8 + 2) * 2, 4 * 2 * 2];
        // Where the MLP goes back: 3 * 12 and 3 * 8 a token.
        let gradients = 10 * 60 * 2;
        for (checkpointing, activations, pictures, temporaries) in [
            (
                CheckpointingChoice::None,
                mix + mlp + row + tower_mix + tower_mlp + patch + merger[0],
                2 * 4 * 24 * 2,
                gradients,
            ),
            (
                CheckpointingChoice::Mlp,
                mix + 2 * row + tower_mix + 2 * patch + merger[1],
                2 * 4 * 24 * 2,
                mlp + gradients,
            ),
            (
                CheckpointingChoice::Full,
                3 * row + 3 * patch + merger[1],
                4 * 24 * 2,
                mix + gradients,
            ),
        ] {
            let memory = planned(checkpointing, false);
            assert_eq!(memory.activations, activations + head, "{checkpointing}");
            assert_eq!(memory.pictures, pictures, "{checkpointing}");
            assert_eq!(memory.temporaries, temporaries, "{checkpointing}");
            // f32 logits of 3 rows of 16, and the gradient of the rows.
            assert_eq!(memory.logits, 3 * 16 * 4 + 3 * 8 * 2);
        }
        let frozen = planned(CheckpointingChoice::None, true);
        assert_eq!((frozen.activations, frozen.pictures), (mix + mlp + row + head, 0));
    }

    fn papers_model() -> ModelConfig {
        ModelConfig::load(&published::configuration(PAPERS_MODEL).unwrap()).unwrap()
    }

    fn assert_near(planned: u64, measured: f64, tolerance: f64) {
        let ratio = planned as f64 / 1e9 / measured;
        assert!((ratio - 1.0).abs() < tolerance, "{ratio} of {measured} GB");
    }

    /// `othink gpu-check` on an H200 (`benches/results/gpu-check-2026-11-27-nvidia-h200-half-layers.jsonl`, learn): the most
    /// that was allocated while it learned from 8 prompts of 100 words and a picture, and by the optimiser, GB.
    #[test]
    fn planned_memory_of_learning_is_that_of_a_real_gpu() {
        let work = groups_of_8(8, 356, 256);
        let mut config = RunConfig::default();
        let planned = |config: &RunConfig| {
            let memory = gpu_memory(config, &papers_model(), &work, DType::BF16);
            // What is allocated is not what the driver takes for itself, but for the workspace.
            let always = memory.weights + memory.gradients + WORKSPACE;
            let learning =
                memory.activations + memory.pictures + memory.logits.max(memory.temporaries);
            (always + learning, always + memory.optimizer)
        };
        for (checkpointing, measured) in [
            (CheckpointingChoice::None, 52.468),
            (CheckpointingChoice::Mlp, 28.911),
            (CheckpointingChoice::Full, 19.998),
        ] {
            config.model.activation_checkpointing = checkpointing;
            assert_near(planned(&config).0, measured, 0.015);
        }
        assert_near(planned(&config).1, 39.796, 0.001);
        config.optim.masters = MasterWeights::Bf16;
        assert_near(planned(&config).1, 30.960, 0.001);
        config.optim.offload = true;
        // Measured with a passing copy of the embedding table in f32.
        let table = 151_936 * 1536 * 4;
        assert_near(planned(&config).1 + table, 14.221, 0.001);
    }

    /// The same machine's memory in use during two updates of `othink train`: 2 prompts, 64 new tokens (the file's `policy`).
    #[test]
    fn planned_memory_of_a_run_is_that_of_a_real_gpu() {
        let mut config = RunConfig::default();
        config.model.activation_checkpointing = CheckpointingChoice::Full;
        config.rollout.max_new_tokens = 64;
        let model = papers_model();
        let memory = gpu_memory(&config, &model, &groups_of_8(2, 320, 64), DType::BF16);
        // Measured when the reference was a copy of the weights beside the policy.
        assert_near(memory.total + parameters(&model, |_| true) * 2, 46.42, 0.015);
    }

    #[test]
    fn gradients_of_a_model_in_bf16_take_half_where_they_are_added_up_in_bf16() {
        let mut config = RunConfig::default();
        let planned = |config: &RunConfig, dtype| {
            let memory = gpu_memory(config, &one_layer(true), &one_group(), dtype);
            (memory.gradients, memory.total)
        };
        let [wide, in_f32] = [DType::BF16, DType::F32].map(|dtype| planned(&config, dtype));
        config.optim.gradients = GradientSums::Bf16;
        let half = wide.0 / 2;
        assert_eq!(planned(&config, DType::BF16), (half, wide.1 - half));
        assert_eq!(planned(&config, DType::F32), in_f32);
    }

    #[test]
    fn gradients_are_held_with_rollouts_and_logits_in_turn_with_a_layers_gradients() {
        let memory = planned(CheckpointingChoice::Full, false);
        let always = memory.weights + memory.gradients + memory.optimizer + memory.driver;
        // Two slots of 5 rows, and two prompts of 7 and one that is joined, 8 numbers a row; pixels in f32 and bf16, logits of
        // two rows in f32; angles of heads of 4. One prompt's layer (80 numbers a row, and the log-sum-exp) is less than the
        // workspace of its products.
        let kept = (2 * 5 + 3 * 7) * 8 * 2 + 4 * 24 * 6 + 2 * 16 * 4 + 2 * 5 * 4 * 4;
        let decoding = kept + WORKSPACE;
        assert_eq!(memory.rollout, decoding);
        // Of 16 tokens a word, in two slots and for two prompts.
        let mut config = RunConfig::default();
        config.rollout.repetition_penalty = 1.1;
        let work = groups_of_8(1, 7, 5);
        let looking_back = gpu_memory(&config, &one_layer(true), &work, DType::BF16).rollout;
        config.rollout.repetition_penalty = 1.0;
        let plain = gpu_memory(&config, &one_layer(true), &work, DType::BF16).rollout;
        assert_eq!(looking_back - plain, (8 + 2) * 4);
        // The workspace of a product with a bias is more than what else is held in turn.
        assert!(memory.temporaries > memory.logits && memory.temporaries < WORKSPACE);
        let learning = memory.activations + memory.pictures + WORKSPACE;
        assert_eq!(memory.total, always + learning.max(decoding));
    }
}
