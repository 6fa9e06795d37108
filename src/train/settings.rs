//! From the run file to each stage's settings: lengths, schedules, optimiser, sampling, reward.
//! Not here: what has to be opened (`setup`), the run file's rows (`data::configured`) and questions (`eval::questions`).

use std::time::Duration;

use candle_core::DType;

use super::accumulate::ScoringSettings;
use super::error::TrainError;
use super::health::Thresholds;
use super::step::OptimizerSettings;
use super::supervised::Taught;
use super::supervised_update::SupervisedSettings;
use super::update::GrpoSettings;
use crate::config::{
    CheckpointingChoice, DTypeChoice, GradientSums, KlScheduleKind, LoraConfig, LrScheduleKind,
    MasterWeights, Method, RolloutConfig, RunConfig, RunLength,
};
use crate::grpo::advantage::Estimator;
use crate::grpo::kl_schedule::KlSchedule;
use crate::grpo::objective::{ClipRange, Normalizer, ObjectiveSettings, RatioLevel};
use crate::model::config::ModelConfig;
use crate::model::lora::Lora;
use crate::model::parameters::{ParameterGroup, Trained};
use crate::model::precision::Precision;
use crate::model::stages::Checkpointing;
use crate::optim::adamw::AdamWSettings;
use crate::optim::lr_schedule::{Decay, LrSchedule};
use crate::processor::Processor;
use crate::reward::{ExternalCommand, RewardSettings};
use crate::rollout::engine::GenerationSettings;
use crate::rollout::replay::RecordingLimits;
use crate::rollout::sampler::{Sampler, Suppressed};
use crate::run_folder::records::Batches;

/// Optimiser steps of the whole run, with `n_rows` rows an epoch.
pub fn total_updates(config: &RunConfig, n_rows: usize) -> u64 {
    match config.train.length() {
        RunLength::Updates(updates) => updates as u64,
        RunLength::Epochs(epochs) => {
            let grpo = &config.grpo;
            let is_supervised = config.method == Method::Sft;
            let (prompts, updates) = if is_supervised {
                (grpo.prompts_per_update, 1)
            } else {
                (grpo.prompts_per_rollout(), grpo.updates_per_rollout)
            };
            // An incomplete last batch is filled from the next epoch's beginning.
            ((epochs * n_rows).div_ceil(prompts) * updates) as u64
        }
    }
}

/// Refuses number types that nothing learns in: no loss is scaled here, as training in f16 needs.
///
/// # Errors
/// f16.
pub fn require_trainable(config: &RunConfig) -> Result<(), TrainError> {
    match config.model.dtype {
        DTypeChoice::F16 => Err(TrainError::Underflow),
        DTypeChoice::Auto | DTypeChoice::F32 | DTypeChoice::Bf16 => Ok(()),
    }
}

/// The low-rank factors that a run trains in the place of the model's own weights; none where it trains these.
pub fn lora(config: &RunConfig) -> Option<Lora> {
    let LoraConfig { rank, alpha, rslora, targets, vision, dropout } = config.model.lora.clone()?;
    Some(Lora { rank, alpha, rslora, targets, vision, dropout })
}

/// Which of the model's own parameters a run trains.
pub fn trained(config: &RunConfig) -> Trained {
    if config.model.lora.is_some() {
        Trained::Nothing
    } else if config.model.freeze_vision {
        Trained::Frozen(&[ParameterGroup::Vision])
    } else {
        Trained::All
    }
}

/// What a policy in these numbers and its gradients are kept in.
pub fn precision(config: &RunConfig, dtype: DType) -> Precision {
    match (dtype, config.optim.gradients) {
        (DType::BF16, GradientSums::Bf16) => Precision { weights: dtype, gradients: DType::BF16 },
        _ => dtype.into(),
    }
}

/// Refuses targets of low-rank factors that a model does not have.
///
/// # Errors
/// The error names the target, and all that the model has.
pub fn require_targets(config: &RunConfig, model: &ModelConfig) -> Result<(), TrainError> {
    lora(config).map_or(Ok(()), |lora| Ok(lora.maps(model).map(drop)?))
}

/// Whether a run may train something of the vision tower.
pub fn trains_vision(config: &RunConfig) -> bool {
    match &config.model.lora {
        Some(lora) => lora.vision,
        None => trained(config).contains(ParameterGroup::Vision),
    }
}

/// The KL weight over the run, Eq. (3); none where the method has none.
pub fn kl_schedule(config: &RunConfig, total_updates: u64) -> KlSchedule {
    let kl = &config.kl;
    if config.method == Method::Sft {
        return KlSchedule::Zero;
    }
    match kl.schedule {
        KlScheduleKind::Zero => KlSchedule::Zero,
        KlScheduleKind::Constant => KlSchedule::Constant(kl.beta),
        KlScheduleKind::Dynamic => KlSchedule::Dynamic {
            beta_min: kl.beta_min,
            beta_max: kl.beta_max,
            explore_updates: kl.explore.in_updates(total_updates as usize) as u64,
            total_updates,
        },
    }
}

/// The updates of GRPO and GRPO-D.
pub fn grpo_settings(config: &RunConfig, total_updates: u64) -> GrpoSettings {
    let grpo = &config.grpo;
    GrpoSettings {
        seed: config.train.seed,
        group_size: grpo.group_size,
        prompts_per_update: grpo.prompts_per_update,
        mini_batches: grpo.mini_batches,
        updates_per_rollout: grpo.updates_per_rollout,
        mask_truncated: grpo.mask_truncated,
        dropout: dropout(config),
        estimator: Estimator::GroupNormalized,
        scoring: scoring_settings(config, config.rollout.temperature),
        objective: ObjectiveSettings {
            ratio_level: RatioLevel::Token,
            normalizer: Normalizer::CompletionMean,
            clip_range: ClipRange { low: grpo.clip_low, high: grpo.clip_high },
            log_ratio_limit: grpo.log_ratio_limit,
        },
        kl_schedule: kl_schedule(config, total_updates),
        total_updates,
    }
}

/// The updates of supervised training.
pub fn supervised_settings(config: &RunConfig) -> SupervisedSettings {
    let taught =
        if config.sft.train_on_prompt { Taught::PromptAndCompletion } else { Taught::Completion };
    SupervisedSettings {
        prompts_per_update: config.grpo.prompts_per_update,
        target: config.sft.target,
        taught,
        // Teaching is at temperature 1, whatever completions are sampled at.
        scoring: scoring_settings(config, 1.0),
        seed: config.train.seed,
        dropout: dropout(config),
    }
}

/// The probability that an input of low-rank factors is dropped.
fn dropout(config: &RunConfig) -> f64 {
    config.model.lora.as_ref().map_or(0.0, |lora| lora.dropout)
}

/// What the backward pass computes again.
pub fn checkpointing(choice: CheckpointingChoice) -> Checkpointing {
    match choice {
        CheckpointingChoice::None => Checkpointing::None,
        CheckpointingChoice::Mlp => Checkpointing::Mlp,
        CheckpointingChoice::Full => Checkpointing::Full,
    }
}

fn scoring_settings(config: &RunConfig, temperature: f64) -> ScoringSettings {
    ScoringSettings {
        temperature,
        tokens_per_micro_batch: config.train.tokens_per_micro_batch,
        checkpointing: checkpointing(config.model.activation_checkpointing),
    }
}

/// When the user is warned, as far as the run file says.
pub fn thresholds(config: &RunConfig) -> Thresholds {
    let train = &config.train;
    Thresholds {
        silent_updates: train.warn_after_silent_updates,
        duplicate_fraction: train.warn_duplicate_fraction,
        truncated_fraction: train.warn_truncated_fraction,
        most_entropy: None,
        is_dropped: dropout(config) > 0.0,
    }
}

/// The optimiser over the run.
pub fn optimizer_settings(config: &RunConfig, total_updates: u64) -> OptimizerSettings {
    let optim = &config.optim;
    OptimizerSettings {
        adamw: AdamWSettings {
            beta1: optim.betas[0],
            beta2: optim.betas[1],
            eps: optim.eps,
            weight_decay: optim.weight_decay,
        },
        schedule: LrSchedule {
            decay: match optim.schedule {
                LrScheduleKind::Constant => Decay::Constant,
                LrScheduleKind::Linear => Decay::Linear,
                LrScheduleKind::Cosine => Decay::Cosine,
            },
            base_lr: optim.lr,
            warmup_updates: optim.warmup.in_updates(total_updates as usize) as u64,
            total_updates,
        },
        clip_norm: if optim.clip_norm > 0.0 { optim.clip_norm } else { f64::INFINITY },
        decay_vectors: optim.decay_norms_and_biases,
        rounds_weights: optim.masters == MasterWeights::Bf16,
        seed: config.train.seed,
        offload: optim.offload,
    }
}

/// How a token of a rollout is drawn.
pub(crate) fn rollout_sampler(rollout: &RolloutConfig) -> Sampler {
    Sampler {
        temperature: rollout.temperature,
        top_k: rollout.top_k,
        top_p: rollout.top_p,
        min_p: rollout.min_p,
        repetition_penalty: rollout.repetition_penalty,
    }
}

/// How rollouts are sampled: what the run file says, never the checkpoint's `generation_config.json`.
pub fn generation_settings(
    config: &RunConfig,
    processor: &Processor,
    vocab_size: usize,
) -> GenerationSettings {
    let rollout = &config.rollout;
    let stop_ids = processor.special().stop_ids.clone();
    let markers = processor.never_sampled(vocab_size);
    GenerationSettings {
        sampler: rollout_sampler(rollout),
        suppressed: Suppressed::new(&markers, &stop_ids, rollout.min_new_tokens),
        max_new_tokens: rollout.max_new_tokens,
        stop_ids,
        max_batch: rollout.max_batch,
    }
}

/// The limits that recorded completions must keep to.
pub fn recording_limits(
    config: &RunConfig,
    vocab_size: usize,
    total_updates: u64,
) -> RecordingLimits {
    RecordingLimits {
        vocab_size,
        max_new_tokens: config.rollout.max_new_tokens,
        group_size: config.grpo.group_size,
        updates_per_rollout: config.grpo.updates_per_rollout as u64,
        total_updates,
    }
}

/// When the run samples completions, and how many.
pub fn batches(config: &RunConfig) -> Batches {
    let grpo = &config.grpo;
    match config.method {
        Method::Sft => Batches { updates: 1, completions: 0 },
        Method::Grpo | Method::GrpoD => Batches {
            updates: grpo.updates_per_rollout as u64,
            completions: grpo.prompts_per_rollout() * grpo.group_size,
        },
    }
}

/// The run file's reward.
pub fn reward_settings(config: &RunConfig) -> RewardSettings {
    let reward = &config.reward;
    let (length_limit, length_buffer) = reward.length(config.rollout.max_new_tokens);
    let command = reward.command.as_ref().map(|command| {
        let timeout = Duration::from_secs_f64(command.timeout_s);
        let (program, args) = (command.program.clone(), command.args.clone());
        (ExternalCommand { program, args, timeout }, command.weight)
    });
    RewardSettings {
        rule: reward.rule.unwrap_or_default(),
        alpha: reward.alpha,
        weights: reward.weights.named().to_vec(),
        relative_error: reward.relative_error,
        length_limit,
        length_buffer,
        repetition_ngram: reward.repetition_ngram,
        external: command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;
    use crate::reward::accuracy::ACCURACY;
    use crate::reward::box_iou::BOX_IOU;
    use crate::reward::choice::CHOICE;
    use crate::reward::length_penalty::LENGTH_PENALTY;
    use crate::reward::relative_error::RELATIVE_ERROR;
    use crate::reward::repetition_penalty::REPETITION_PENALTY;
    use crate::reward::set_match::SET_MATCH;

    #[test]
    fn every_weight_of_the_run_file_reaches_its_component() {
        let text = "accuracy = 1.0\nchoice = 2.0\nrelative_error = 3.0\nset_match = 4.0\n\
                    box_iou = 5.0\nlength_penalty = 6.0\nrepetition_penalty = 7.0\n";
        let mut config = RunConfig::default();
        config.reward.weights = toml::from_str(text).unwrap();
        let expected = [
            (&ACCURACY, 1.0),
            (&CHOICE, 2.0),
            (&RELATIVE_ERROR, 3.0),
            (&SET_MATCH, 4.0),
            (&BOX_IOU, 5.0),
            (&LENGTH_PENALTY, 6.0),
            (&REPETITION_PENALTY, 7.0),
        ];
        assert_eq!(reward_settings(&config).weights, expected);
    }

    #[test]
    fn the_kl_weight_hangs_on_the_keys_that_are_said_to_be_read() {
        let file = ConfigFile::from_text("run.toml", "[data]\ntask = \"synth-vc\"\n");
        let load = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
            RunConfig::from_file(&file, &overrides).unwrap()
        };
        for method in ["method=grpo-d", "method=grpo", "method=sft"] {
            for schedule in ["dynamic", "constant", "zero"] {
                if method == "method=grpo" && schedule == "dynamic" {
                    continue;
                }
                let schedule = format!("kl.schedule={schedule}");
                let chosen = load(&[method, &schedule]);
                for changed in
                    ["kl.beta=0.5", "kl.beta_min=0.01", "kl.beta_max=0.5", "kl.explore=0.1"]
                {
                    let other = load(&[method, &schedule, changed]);
                    let is_moved = kl_schedule(&chosen, 100) != kl_schedule(&other, 100);
                    let (key, _) = changed.split_once('=').unwrap();
                    let is_read = chosen.require_read(key).is_ok();
                    assert_eq!(is_moved, is_read, "{method} {schedule} {changed}");
                }
            }
        }
    }
}
