//! Opening what a run file names: model, reference, processor, rows.
//! Not here: settings that nothing has to be opened for (`settings`), the loop (`trainer`).

use std::sync::Arc;

use candle_core::{DType, Device};

use super::error::TrainError;
use super::questions::{Order, TrainingQuestions};
use super::settings::{reward_settings, total_updates, trained};
use crate::config::{Method, OnBadRow, RunConfig};
use crate::data::Questions;
use crate::data::configured::{training_questions, training_rows, warn_of_left_out};
use crate::model::files::ModelFiles;
use crate::model::open::open;
use crate::model::qwen2_vl::Qwen2Vl;
use crate::model::{device, source};
use crate::processor::Processor;
use crate::reward::check_solutions;

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
    /// - `config`: with its task's part in it, see [`crate::data::tasks::resolved`]
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

fn questions(config: &RunConfig) -> Result<(Questions, Order), TrainError> {
    let data = &config.data;
    let dataset = training_rows(config)?;
    warn_of_left_out(&dataset);
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
    let order = Order::new(config.train.seed, n_rows, data.shuffle);
    Ok((training_questions(config, dataset)?, order))
}

/// A model's processor with the run's pixel limits.
pub(super) fn training_processor(
    config: &RunConfig,
    files: &ModelFiles,
) -> Result<Processor, TrainError> {
    let (min, max) = (config.data.min_pixels, config.data.max_pixels);
    Ok(Processor::load(files)?.with_pixel_limits(Some(min), Some(max))?)
}
