//! From a run file to everything a run needs: model, reference, processor, data, optimiser.
//! Not here: the loop (`trainer`), reading the run file (`config`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device};

use super::error::TrainError;
use super::optimizer::OptimizerSettings;
use super::questions::{Order, TrainingQuestions};
use crate::config::{
    KlScheduleKind, LrScheduleKind, Method, OnBadRow, RewardRule, RunConfig, RunLength,
};
use crate::data::tasks::{TaskOptions, task};
use crate::data::{DataError, Dataset, OpenOptions, Questions, Split, Template, open_anywhere};
use crate::grpo::kl_schedule::KlSchedule;
use crate::hub::Hub;
use crate::model::files::ModelFiles;
use crate::model::open::open;
use crate::model::parameters::{ParameterGroup, Trained};
use crate::model::qwen2_vl::Qwen2Vl;
use crate::model::{device, source};
use crate::optim::adamw::AdamWSettings;
use crate::optim::lr_schedule::{Decay, LrSchedule};
use crate::processor::Processor;
use crate::reward::{ExternalCommand, Gold, RewardSettings, Rule};
use crate::rollout::engine::GenerationSettings;
use crate::rollout::sampler::{Sampler, Suppressed};

/// Template of data that no task names: R1-V's for training.
pub(super) const DEFAULT_TEMPLATE: &str = "r1v";

/// What a run computes with, apart from the model that it trains.
pub struct Setup {
    /// The files of the model the run starts from.
    pub files: ModelFiles,
    /// Number format of the run.
    pub dtype: DType,
    /// Device of the run.
    pub device: Device,
    /// Tokenizer, chat template and image settings.
    pub processor: Arc<Processor>,
    /// The rows of the run.
    pub questions: TrainingQuestions,
    /// Updates of the whole run.
    pub total_updates: u64,
}

impl Setup {
    /// Opens what the run file names; nothing is written.
    ///
    /// - `config`: with its task's part in it, see [`resolved`]
    ///
    /// # Errors
    /// A model, a task or a file that is not there or not what it should be.
    pub fn open(config: &RunConfig) -> Result<Self, TrainError> {
        let device = device::device(&config.model.device.to_string())?;
        let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
        let (questions, order) = questions(config)?;
        let files = source::resolve(&config.model.path)?;
        let processor = Arc::new(training_processor(config, &files)?);
        let total_updates = total_updates(config, order.n_rows());
        let questions =
            TrainingQuestions::new(questions, Arc::clone(&processor), order, &config.data);
        Ok(Self { files, dtype, device, processor, questions, total_updates })
    }

    /// The model to train, from `files`: the run's own, or a checkpoint's.
    ///
    /// # Errors
    /// The files are not those of a Qwen2-VL.
    pub fn open_policy(
        &self,
        config: &RunConfig,
        files: &ModelFiles,
    ) -> Result<Qwen2Vl, TrainError> {
        Ok(open(files, self.dtype, &self.device, trained(config))?)
    }
}

/// Which of the model's parameters a run trains.
pub fn trained(config: &RunConfig) -> Trained {
    if config.model.freeze_vision {
        Trained::Frozen(&[ParameterGroup::Vision])
    } else {
        Trained::All
    }
}

/// The run file with its task's part written out: templates, rules and limits that the file leaves to the task. What
/// comes out decides the run by itself.
///
/// # Errors
/// There is no such task.
pub fn resolved(config: &RunConfig) -> Result<RunConfig, TrainError> {
    let mut config = config.clone();
    let trained = config.data.task.as_deref().map(task).transpose()?;
    let template = trained.as_ref().map_or(DEFAULT_TEMPLATE, |task| task.training_template);
    config.data.template.get_or_insert_with(|| template.to_owned());
    let rule = trained.as_ref().map_or(Rule::default().name(), |task| task.reward_rule);
    config.reward.rule = Some(config.reward.rule.map_or_else(|| rule_named(rule), Ok)?);
    let measured = config.eval.task.as_deref().or(config.data.task.as_deref());
    if let Some(measured) = measured.map(task).transpose()? {
        let protocol = measured.evaluation;
        let eval = &mut config.eval;
        eval.task = Some(measured.name.to_owned());
        eval.template.get_or_insert_with(|| protocol.template.to_owned());
        eval.rule = Some(eval.rule.map_or_else(|| rule_named(protocol.rule), Ok)?);
        eval.max_new_tokens.get_or_insert(protocol.max_new_tokens);
        eval.min_pixels = eval.min_pixels.or(protocol.min_pixels);
        eval.max_pixels = eval.max_pixels.or(protocol.max_pixels);
    }
    if let Some(trained) = trained {
        config.data.task = Some(trained.name.to_owned());
    }
    Ok(config)
}

/// The rows that a run file trains on.
///
/// # Errors
/// The task or the data is not there or not what it should be.
pub fn training_rows(config: &RunConfig) -> Result<Dataset, TrainError> {
    Ok(rows_from(config, Hub::from_env)?)
}

/// As [`training_rows`], but none where they would have to be fetched.
///
/// # Errors
/// As [`training_rows`].
pub fn rows_at_hand(config: &RunConfig) -> Result<Option<Dataset>, TrainError> {
    match rows_from(config, Hub::cached_only) {
        Ok(dataset) => Ok(Some(dataset)),
        Err(error) if error.is_not_cached() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn rows_from(config: &RunConfig, hub: impl FnOnce() -> Hub) -> Result<Dataset, DataError> {
    if let Some(name) = &config.data.task {
        return task(name)?.open_with(Split::Train, &task_options(config), hub);
    }
    let path = PathBuf::from(config.data.train.clone().unwrap_or_default());
    open_anywhere(&path, Some(Split::Train.name()), &open_options(config), hub)
}

/// How many rows the task's published training set has, about.
pub fn published_rows(config: &RunConfig) -> Option<usize> {
    task(config.data.task.as_deref()?).ok()?.published_rows()
}

fn questions(config: &RunConfig) -> Result<(Questions, Order), TrainError> {
    let data = &config.data;
    let dataset = training_rows(config)?;
    warn_of_left_out(&dataset);
    if data.on_bad_row == OnBadRow::Fail {
        dataset.check_images()?;
    }
    if config.method != Method::Sft {
        check_golds(&dataset, &reward_settings(config), data.allow_unparsable)?;
    }
    let n_rows = data.max_samples.map_or(dataset.len(), |max| max.min(dataset.len()));
    if n_rows == 0 {
        return Err(TrainError::NoRows { name: dataset.name().to_owned() });
    }
    let order = Order::new(config.train.seed, n_rows, data.shuffle);
    Ok((training_questions(config, dataset)?, order))
}

/// Rows in the words that a run trains on.
pub(super) fn training_questions(
    config: &RunConfig,
    dataset: Dataset,
) -> Result<Questions, TrainError> {
    let template = Template::new(config.data.template.as_deref().unwrap_or(DEFAULT_TEMPLATE))?;
    Ok(Questions { dataset: Arc::new(dataset), template })
}

/// A model's processor with the run's pixel limits.
pub(super) fn training_processor(
    config: &RunConfig,
    files: &ModelFiles,
) -> Result<Processor, TrainError> {
    let (min, max) = (config.data.min_pixels, config.data.max_pixels);
    Ok(Processor::load(files)?.with_pixel_limits(Some(min), Some(max))?)
}

/// What the run file says about a task's data.
pub fn task_options(config: &RunConfig) -> TaskOptions {
    TaskOptions {
        data: config.data.train.clone().map(PathBuf::from),
        open: open_options(config),
        drawing_seed: config.data.drawing_seed,
        image_size: config.data.image_size,
    }
}

pub(super) fn open_options(config: &RunConfig) -> OpenOptions {
    let data = &config.data;
    OpenOptions { image_root: data.image_root.clone(), on_bad_row: data.on_bad_row }
}

/// Rows that were skipped are counted and listed.
fn warn_of_left_out(dataset: &Dataset) {
    let left_out = dataset.left_out();
    if !left_out.is_empty() {
        tracing::warn!(rows = left_out.len(), data = dataset.name(), "bad rows are left out");
        for reason in left_out {
            tracing::warn!("left out: {}", reason.to_string().lines().next().unwrap_or_default());
        }
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
        rule: rule_of(reward.rule.unwrap_or_default()),
        alpha: reward.alpha,
        weights: weights.collect(),
        relative_error: reward.relative_error,
        length_limit,
        length_buffer,
        repetition_ngram: reward.repetition_ngram,
        external: command,
    }
}

/// The run file's word for a rule of this name.
fn rule_named(name: &str) -> Result<RewardRule, TrainError> {
    Ok(match name.parse()? {
        Rule::AnswerTag => RewardRule::AnswerTag,
        Rule::R1vReward => RewardRule::R1vReward,
        Rule::R1vSuperclevr => RewardRule::R1vSuperclevr,
        Rule::R1vGeoqa => RewardRule::R1vGeoqa,
    })
}

pub(super) fn rule_of(choice: RewardRule) -> Rule {
    match choice {
        RewardRule::AnswerTag => Rule::AnswerTag,
        RewardRule::R1vReward => Rule::R1vReward,
        RewardRule::R1vSuperclevr => Rule::R1vSuperclevr,
        RewardRule::R1vGeoqa => Rule::R1vGeoqa,
    }
}

/// Checks that the reward can use every listed solution: what it cannot read, no completion can earn.
pub(super) fn check_golds(
    dataset: &Dataset,
    reward: &RewardSettings,
    allows_unparsable: bool,
) -> Result<(), TrainError> {
    let mut unparsable = Vec::new();
    for (sample, solution) in dataset.listed_solutions() {
        match Gold::parse(reward, solution) {
            Ok(_) => {}
            Err(source) if !allows_unparsable => {
                return Err(TrainError::UnparsableGold { sample: sample.to_owned(), source });
            }
            Err(_) => unparsable.push(sample),
        }
    }
    if !unparsable.is_empty() {
        let (n, rows) = (unparsable.len(), unparsable.join(", "));
        tracing::warn!(
            n,
            rule = reward.rule.name(),
            rows,
            "no completion can be right: solutions that the rule cannot read"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RewardWeights;
    use crate::reward::Component;

    #[test]
    fn rules_of_every_task_exist() {
        for name in ["synth-vc", "synth-gr", "vc", "gr"] {
            let task = task(name).unwrap();
            for rule in [task.reward_rule, task.evaluation.rule] {
                assert_eq!(rule_of(rule_named(rule).unwrap()).name(), rule);
            }
        }
    }

    #[test]
    fn what_the_run_file_leaves_open_is_the_tasks_and_what_it_says_stays() {
        let mut config = RunConfig::default();
        config.data.task = Some("geoqa".to_owned());
        config.eval.task = Some("superclevr".to_owned());
        config.eval.max_new_tokens = Some(99);
        let resolved = resolved(&config).unwrap();
        assert_eq!(resolved.data.task.as_deref(), Some("gr"));
        assert_eq!(resolved.data.template.as_deref(), Some("r1v"));
        assert_eq!(resolved.reward.rule, Some(RewardRule::R1vReward));
        assert_eq!(resolved.eval.task.as_deref(), Some("vc"));
        assert_eq!(resolved.eval.template.as_deref(), Some("r1v-superclevr"));
        assert_eq!(resolved.eval.rule, Some(RewardRule::R1vSuperclevr));
        assert_eq!(resolved.eval.max_new_tokens, Some(99));
        assert_eq!(super::resolved(&resolved).unwrap(), resolved);
        config.data.task = Some("cats".to_owned());
        assert!(super::resolved(&config).is_err());
    }

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
