//! From a run file to everything a run needs: model, reference, processor, data, optimiser.
//! Not here: the loop (`trainer`), reading the run file (`config`).

use std::path::PathBuf;
use std::time::Duration;

use candle_core::{DType, Device};

use super::error::TrainError;
use super::optimizer::OptimizerSettings;
use super::questions::{Order, Questions};
use crate::config::{
    KlScheduleKind, LrScheduleKind, Method, OnBadRow, RewardRule, RunConfig, RunLength,
};
use crate::data::task::{TaskOptions, task};
use crate::data::template::Template;
use crate::data::{Dataset, Split, open_json_lines};
use crate::eval::EvalSettings;
use crate::grpo::kl_schedule::KlSchedule;
use crate::model::files::ModelFiles;
use crate::model::open::open;
use crate::model::qwen2_vl::Qwen2Vl;
use crate::model::{device, source};
use crate::optim::adamw::AdamWSettings;
use crate::optim::lr_schedule::{Decay, LrSchedule};
use crate::processor::Processor;
use crate::reward::{ExternalCommand, Gold, RewardSettings, Rule};
use crate::rollout::engine::GenerationSettings;
use crate::rollout::sampler::{Sampler, Suppressed};

/// Template of data that no task names: R1-V's for training.
const DEFAULT_TEMPLATE: &str = "r1v";

/// What a run computes with, apart from the model that it trains.
pub struct Setup {
    /// The files of the model the run starts from.
    pub files: ModelFiles,
    /// Number format of the run.
    pub dtype: DType,
    /// Device of the run.
    pub device: Device,
    /// Tokenizer, chat template and image settings.
    pub processor: Processor,
    /// The rows of the run.
    pub questions: Questions,
    /// Updates of the whole run.
    pub total_updates: u64,
}

impl Setup {
    /// Opens what the run file names; nothing is written.
    ///
    /// # Errors
    /// A model, a task or a file that is not there or not what it should be.
    pub fn open(config: &RunConfig) -> Result<Self, TrainError> {
        let device = device::device(&config.model.device.to_string())?;
        let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
        let questions = questions(config)?;
        let files = source::resolve(&config.model.path)?;
        let (min, max) = (config.data.min_pixels, config.data.max_pixels);
        let processor = Processor::load(&files)?.with_pixel_limits(Some(min), Some(max))?;
        let total_updates = total_updates(config, questions.order.n_rows());
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
        let freezes_vision = config.model.freeze_vision;
        let is_trained = |name: &str| !(freezes_vision && name.starts_with("visual."));
        Ok(open(files, self.dtype, &self.device, is_trained)?)
    }

    /// The reference model: the one the run starts from, whatever it is resumed from.
    ///
    /// # Errors
    /// The files are not those of a Qwen2-VL.
    pub fn open_reference(&self) -> Result<Qwen2Vl, TrainError> {
        Ok(open(&self.files, self.dtype, &self.device, |_| false)?)
    }
}

fn questions(config: &RunConfig) -> Result<Questions, TrainError> {
    let data = &config.data;
    let (dataset, template) = if let Some(name) = &data.task {
        let task = task(name)?;
        (task.open(Split::Train, &task_options(config))?, task.training_template)
    } else {
        let path = PathBuf::from(data.train.clone().unwrap_or_default());
        let rows = open_json_lines(&path, data.image_root.as_deref())?;
        (rows, Template::new(DEFAULT_TEMPLATE)?)
    };
    let template = data.template.as_deref().map_or(Ok(template), Template::new)?;
    let skips_bad_rows = data.on_bad_row == OnBadRow::Skip;
    if !skips_bad_rows {
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
    Ok(Questions { dataset, template, order, skips_bad_rows })
}

/// What the run file says about a task's data.
pub fn task_options(config: &RunConfig) -> TaskOptions {
    TaskOptions {
        data: config.data.train.clone().map(PathBuf::from),
        image_root: config.data.image_root.clone(),
        drawing_seed: config.data.drawing_seed,
        image_size: config.data.image_size,
    }
}

/// What a run measures itself on.
pub struct EvaluationQuestions {
    /// The task's name, or the file's.
    pub label: String,
    /// The questions.
    pub dataset: Dataset,
    /// The sentences around them.
    pub template: Template,
    /// How answers are decoded and judged.
    pub settings: EvalSettings,
}

/// Opens the questions that a run measures itself on.
///
/// # Errors
/// The task or the file is not there or not what it should be.
pub fn evaluation_questions(config: &RunConfig) -> Result<EvaluationQuestions, TrainError> {
    let eval = &config.eval;
    let split: Split = eval.split.parse()?;
    let name = eval.task.as_ref().or(config.data.task.as_ref());
    let own = eval.data.clone().map(PathBuf::from);
    let (label, dataset, template, max_new_tokens, own_rule) = if let Some(name) = name {
        let task = task(name)?;
        // The file that is trained on must not stand in for the task's held-out rows.
        let options = TaskOptions { data: own, ..task_options(config) };
        let dataset = task.open(split, &options)?;
        let own_rule = task.evaluation_rule.parse()?;
        (task.name.to_owned(), dataset, task.evaluation_template, task.max_new_tokens, own_rule)
    } else {
        let path = own.unwrap_or_default();
        let rows = open_json_lines(&path, config.data.image_root.as_deref())?;
        let label = path.display().to_string();
        let template = Template::new(DEFAULT_TEMPLATE)?;
        (label, rows, template, config.rollout.max_new_tokens, Rule::default())
    };
    // `answer-tag` is reported whatever the task's own rule is; R1-V's rules keep R1-V's blind spots.
    check_golds(&dataset, &RewardSettings::default(), config.data.allow_unparsable)?;
    let template = eval.template.as_deref().map_or(Ok(template), Template::new)?;
    let settings = EvalSettings {
        max_new_tokens: eval.max_new_tokens.unwrap_or(max_new_tokens),
        max_batch: eval.max_batch,
        rule: eval.rule.map_or(own_rule, rule_of),
        limit: eval.limit,
    };
    Ok(EvaluationQuestions { label, dataset, template, settings })
}

fn total_updates(config: &RunConfig, n_rows: usize) -> u64 {
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
        rule: rule_of(reward.rule),
        alpha: reward.alpha,
        weights: weights.collect(),
        relative_error: reward.relative_error,
        length_limit,
        length_buffer,
        repetition_ngram: reward.repetition_ngram,
        external: command,
    }
}

fn rule_of(choice: RewardRule) -> Rule {
    match choice {
        RewardRule::AnswerTag => Rule::AnswerTag,
        RewardRule::R1vReward => Rule::R1vReward,
        RewardRule::R1vSuperclevr => Rule::R1vSuperclevr,
        RewardRule::R1vGeoqa => Rule::R1vGeoqa,
    }
}

/// Checks that the reward can use every listed solution: what it cannot read, no completion can earn.
fn check_golds(
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
    fn every_task_is_evaluated_by_a_rule_that_exists() {
        for name in ["synth-vc", "synth-gr", "vc", "gr"] {
            let name = task(name).unwrap().evaluation_rule;
            assert_eq!(name.parse::<Rule>().unwrap().name(), name);
        }
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
