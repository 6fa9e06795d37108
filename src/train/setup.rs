//! Opening what a run file names: model, reference, processor, rows.
//! Not here: settings that nothing has to be opened for (`settings`), the updates (`update`, `supervised_update`).

use std::sync::Arc;

use candle_core::{DType, Device};

use super::OnStage;
use super::draw::DrawnQuestions;
use super::error::TrainError;
use super::policy::Policy;
use super::prompt_sampler::Epochs;
use super::ranks::Ranks;
use super::reference::Reference;
use super::settings::{
    generation_settings, grpo_settings, lora, optimizer_settings, precision, recording_limits,
    require_trainable, reward_settings, supervised_settings, total_updates, trained,
};
use super::step::Optimizer;
use super::supervised_update::SupervisedTrainer;
use super::update::{GrpoTrainer, TrainedBatch};
use crate::config::{Method, OnBadRow, RunConfig};
use crate::data::Questions;
use crate::data::configured::{markers, training_questions, training_rows, warn_of_rows};
use crate::model::Model;
use crate::model::files::ModelFiles;
use crate::model::open::{open, open_with_factors};
use crate::model::{device, source};
use crate::processor::Processor;
use crate::reward::{Scorer, check_solutions};
use crate::rollout::replay::Recording;
use crate::run_folder::checkpoint::Loaded;

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
    pub questions: DrawnQuestions,
    /// Updates of the whole run.
    pub total_updates: u64,
}

impl Setup {
    /// Opens what the run file names; nothing is written.
    ///
    /// - `config`: with its task's keys filled in, see [`crate::data::tasks::resolved`]
    ///
    /// # Errors
    /// A model, a task or a file that is not there or not what it should be.
    pub fn open(config: &RunConfig) -> Result<Self, TrainError> {
        require_trainable(config)?;
        let device = device::device(&config.model.device.to_string())?;
        let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
        let (questions, n_rows) = questions(config)?;
        let files = source::resolve(&config.model.path)?;
        let processor = Arc::new(training_processor(config, &files)?);
        let sampler = Box::new(Epochs::new(config.train.seed, n_rows, config.data.shuffle));
        let rows = (sampler as Box<_>, n_rows);
        let questions = DrawnQuestions::new(questions, processor.clone(), rows, &config.data)?;
        let total_updates = total_updates(config, n_rows);
        Ok(Self { files, dtype, device, processor, questions, total_updates })
    }

    /// Puts what a run computes with on its device: the policy, and what makes its updates.
    ///
    /// # Errors
    /// The files are not those of a known model, or the checkpoint's state is not this run's.
    pub(super) fn load(
        &mut self,
        config: &RunConfig,
        checkpoint: Option<&Loaded>,
        ranks: Box<dyn Ranks>,
    ) -> Result<(Policy, Trainer), TrainError> {
        let policy = self.open_policy(config, checkpoint, ranks)?;
        let trainer = self.open_trainer(config, &policy.model)?;
        Ok((policy, trainer))
    }

    /// The policy and its optimiser, new or from a checkpoint; a checkpoint also restores the drawing of prompts.
    ///
    /// # Errors
    /// The files are not those of a known model, or the checkpoint's state is not this run's.
    fn open_policy(
        &mut self,
        config: &RunConfig,
        checkpoint: Option<&Loaded>,
        ranks: Box<dyn Ranks>,
    ) -> Result<Policy, TrainError> {
        let failed = TrainError::during("preparing the model");
        let settings = optimizer_settings(config, self.total_updates);
        let Some(loaded) = checkpoint else {
            let model = self.open_model(config, &self.files)?;
            let optimizer = Optimizer::new(settings, model.parameters()).map_err(&failed)?;
            return Policy::new(model, optimizer, 0, ranks).map_err(&failed);
        };
        let model = self.open_model(config, &self.files_of(config, loaded))?;
        let kept_on = if settings.offload { &Device::Cpu } else { &self.device };
        let (state, masters) = (loaded.optimizer(kept_on)?, loaded.master_weights(kept_on)?);
        let optimizer = Optimizer::restore(settings, model.parameters(), state, masters);
        self.questions.restore(&loaded.progress.draws)?;
        let update = loaded.progress.update;
        Policy::new(model, optimizer.map_err(&failed)?, update, ranks).map_err(&failed)
    }

    /// The model to train, from `files`: the run's own, or a checkpoint's.
    fn open_model(&self, config: &RunConfig, files: &ModelFiles) -> Result<Model, TrainError> {
        let precision = precision(config, self.dtype);
        Ok(match lora(config) {
            Some(lora) => {
                open_with_factors(files, (precision, &self.device), &lora, config.train.seed)?
            }
            None => open(files, precision, &self.device, trained(config))?,
        })
    }

    /// A checkpoint's model: its folder, over the run's base model where it holds factors alone.
    fn files_of(&self, config: &RunConfig, checkpoint: &Loaded) -> ModelFiles {
        let folder = checkpoint.path.clone();
        match config.model.lora {
            Some(_) => ModelFiles::adapter(folder, self.files.base().clone()),
            None => ModelFiles::Folder(folder),
        }
    }

    /// What makes the run's updates.
    fn open_trainer(&self, config: &RunConfig, policy: &Model) -> Result<Trainer, TrainError> {
        let (processor, vocab_size) = (Arc::clone(&self.processor), policy.vocab_size());
        if config.method == Method::Sft {
            let settings = supervised_settings(config);
            return Ok(Trainer::Supervised(SupervisedTrainer { settings, processor }));
        }
        let settings = grpo_settings(config, self.total_updates);
        let reference = Reference::open(&settings.kl_schedule, &self.files, policy)?;
        let generation = generation_settings(config, &processor, vocab_size);
        let limits = recording_limits(config, vocab_size, self.total_updates);
        let replay = config.rollout.replay.as_ref();
        let recording = replay.map(|path| Recording::open(path, &limits)).transpose()?;
        let scorer = Scorer::new(reward_settings(config))?;
        let sampled = Vec::new();
        let trainer =
            GrpoTrainer { settings, generation, recording, processor, scorer, reference, sampled };
        Ok(Trainer::Grpo(Box::new(trainer)))
    }
}

/// What makes a run's updates.
pub(super) enum Trainer {
    /// GRPO and GRPO-D.
    Grpo(Box<GrpoTrainer>),
    /// Supervised training.
    Supervised(SupervisedTrainer),
}

impl Trainer {
    /// Makes the updates of a batch.
    ///
    /// # Errors
    /// One cannot be made; what was made before it stays made.
    pub(super) fn train_batch(
        &mut self,
        policy: &mut Policy,
        questions: &mut DrawnQuestions,
        on_stage: &mut OnStage,
    ) -> Result<TrainedBatch, TrainError> {
        match self {
            Self::Grpo(trainer) => trainer.train_batch(policy, questions, on_stage),
            Self::Supervised(trainer) => trainer.train_batch(policy, questions, on_stage),
        }
    }
}

/// The rows of the run, checked, and how many of them it trains on.
fn questions(config: &RunConfig) -> Result<(Questions, usize), TrainError> {
    let data = &config.data;
    let dataset = training_rows(config)?;
    warn_of_rows(&dataset);
    if data.on_bad_row == OnBadRow::Fail {
        dataset.check_images()?;
    }
    if config.method != Method::Sft {
        let listed = dataset.listed_solutions();
        check_solutions(listed, &reward_settings(config), data.allow_unparsable)?;
    }
    let n_rows = data.max_samples.map_or(dataset.len(), |max| max.min(dataset.len()));
    if n_rows == 0 {
        return Err(TrainError::NoRows { name: dataset.name().to_owned() });
    }
    Ok((training_questions(config, dataset)?, n_rows))
}

/// A model's processor with the run's pixel limits and meaning of markers.
pub(super) fn training_processor(
    config: &RunConfig,
    files: &ModelFiles,
) -> Result<Processor, TrainError> {
    let (min, max) = (config.data.min_pixels, config.data.max_pixels);
    let processor = Processor::load(files)?.with_pixel_limits(Some(min), Some(max))?;
    Ok(processor.with_markers(markers(config)))
}
