//! From the run file to each stage's settings: trained parameters, lengths, schedules, optimiser, sampling, reward.
//! Not here: what has to be opened (`setup`), the run file's rows (`data::configured`) and questions (`eval::questions`).

use std::time::Duration;

use super::optimizer::OptimizerSettings;
use crate::config::{KlScheduleKind, LrScheduleKind, Method, RunConfig, RunLength};
use crate::grpo::kl_schedule::KlSchedule;
use crate::model::parameters::{ParameterGroup, Trained};
use crate::optim::adamw::AdamWSettings;
use crate::optim::lr_schedule::{Decay, LrSchedule};
use crate::processor::Processor;
use crate::reward::{ExternalCommand, RewardSettings};
use crate::rollout::engine::GenerationSettings;
use crate::rollout::sampler::{Sampler, Suppressed};

/// Which of the model's parameters a run trains.
pub fn trained(config: &RunConfig) -> Trained {
    if config.model.freeze_vision {
        Trained::Frozen(&[ParameterGroup::Vision])
    } else {
        Trained::All
    }
}

/// Optimiser steps of the whole run over that many rows an epoch.
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
        sampler: Sampler {
            temperature: rollout.temperature,
            top_k: rollout.top_k,
            top_p: rollout.top_p,
            min_p: rollout.min_p,
            repetition_penalty: rollout.repetition_penalty,
        },
        suppressed: Suppressed::new(&markers, &stop_ids, rollout.min_new_tokens),
        max_new_tokens: rollout.max_new_tokens,
        stop_ids,
        max_batch: rollout.max_batch,
    }
}

/// The run file's reward.
pub fn reward_settings(config: &RunConfig) -> RewardSettings {
    let reward = &config.reward;
    let (length_limit, length_buffer) = reward.length(config.rollout.max_new_tokens);
    // The run file's keys are the components' names; a test holds that.
    let weights = reward.weights.named().into_iter();
    let weights = weights.filter_map(|(name, weight)| Some((name.parse().ok()?, weight)));
    let command = reward.command.as_ref().map(|command| {
        let timeout = Duration::from_secs_f64(command.timeout_s);
        let (program, args) = (command.program.clone(), command.args.clone());
        (ExternalCommand { program, args, timeout }, command.weight)
    });
    RewardSettings {
        rule: reward.rule.unwrap_or_default().into(),
        alpha: reward.alpha,
        weights: weights.collect(),
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
    use crate::config::RewardWeights;
    use crate::reward::Component;

    #[test]
    fn every_weight_of_the_run_file_reaches_its_component() {
        let mut config = RunConfig::default();
        config.reward.weights = RewardWeights {
            accuracy: Some(1.0),
            choice: Some(2.0),
            relative_error: Some(3.0),
            set_match: Some(4.0),
            box_iou: Some(5.0),
            length_penalty: Some(6.0),
            repetition_penalty: Some(7.0),
        };
        let expected = [
            (Component::Accuracy, 1.0),
            (Component::Choice, 2.0),
            (Component::RelativeError, 3.0),
            (Component::SetMatch, 4.0),
            (Component::BoxIou, 5.0),
            (Component::LengthPenalty, 6.0),
            (Component::RepetitionPenalty, 7.0),
        ];
        assert_eq!(reward_settings(&config).weights, expected);
    }
}
