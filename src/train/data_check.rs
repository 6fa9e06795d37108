//! Every row of a run as a prompt, before the run or instead of it: lengths, pictures, golds, and whether there is room.
//! Not here: making prompts (`data::survey`), what a run's start looks at (`pictures`), printing (`cli`).

use std::sync::Arc;

use super::error::TrainError;
use super::pictures::SoFar;
use super::settings::reward_settings;
use super::setup::training_processor;
use crate::config::{Method, OnBadRow, RunConfig};
use crate::data::configured::{training_questions, training_rows, warn_of_rows};
use crate::data::survey::{Survey, survey};
use crate::data::{DataError, Dataset, Questions};
use crate::eval::questions::evaluation_questions;
use crate::model::config::ModelConfig;
use crate::model::source;
use crate::processor::Processor;
use crate::progress::ProgressDisplay;
use crate::reward::{Golds, RewardSettings};
use crate::rollout::engine::has_room;

/// Drawn rows are right by construction, so that some of them are enough.
const DRAWN_ROWS: usize = 256;

/// Rows that were looked at.
pub struct CheckedRows {
    /// What the run does with them.
    pub purpose: Purpose,
    /// The rows, with their template.
    pub questions: Questions,
    /// What makes them into prompts.
    pub processor: Arc<Processor>,
    /// Rows that the run takes.
    pub n_rows: usize,
    /// Rows of those that were looked at: fewer where they are drawn.
    pub n_looked_at: usize,
    /// What they are as prompts.
    pub survey: Survey,
    /// What golds must be readable for; `None` where completions are taught.
    pub golds: Option<RewardSettings>,
    /// Identifiers of rows whose gold cannot be read for it, with why.
    pub unreadable: Vec<(String, String)>,
    /// How many new tokens are asked for; `None` where completions are taught.
    pub n_new: Option<usize>,
    /// The model's positions: prompt and new tokens must fit.
    pub positions: usize,
}

/// What a run does with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is trained on them.
    Training,
    /// It is measured on them.
    Evaluation,
}

impl Purpose {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Evaluation => "evaluation",
        }
    }
}

impl CheckedRows {
    /// Rows that cannot be used, in the order in which they were found.
    pub fn unusable(&self) -> impl Iterator<Item = &DataError> {
        self.questions.dataset.left_out().iter().chain(&self.survey.unusable)
    }

    /// Whether the longest prompt leaves room for its completion.
    pub fn has_room(&self) -> bool {
        let n_new = self.n_new.unwrap_or(0);
        has_room(self.survey.prompt_tokens.most, n_new, self.positions)
    }

    /// Whether a run on these rows would stop at one of them.
    ///
    /// - `config`: which bad rows the run passes over
    pub fn would_stop(&self, config: &RunConfig) -> bool {
        let skips = config.data.on_bad_row == OnBadRow::Skip && self.purpose == Purpose::Training;
        let is_unusable = self.survey.rows == 0 || (!skips && self.unusable().next().is_some());
        let is_unreadable = !config.data.allow_unparsable && !self.unreadable.is_empty();
        is_unusable || is_unreadable || !self.has_room()
    }
}

/// Makes every row of a run into a prompt: those that it trains on, and those that it measures itself on.
///
/// - `config`: with its task's keys filled in, see [`crate::data::tasks::resolved`]
///
/// # Errors
/// The data or the model is not there, or no row of the data can be used.
pub fn check_data(
    config: &RunConfig,
    display: &ProgressDisplay,
) -> Result<Vec<CheckedRows>, TrainError> {
    let mut lenient = config.clone();
    lenient.data.on_bad_row = OnBadRow::Skip;
    lenient.data.allow_unparsable = true;
    let config = &lenient;
    let files = source::resolve(&config.model.path)?;
    let positions = ModelConfig::load(&files)?.text.max_position_embeddings;
    let dataset = training_rows(config)?;
    warn_of_rows(&dataset);
    let n_rows = config.data.max_samples.map_or(dataset.len(), |most| most.min(dataset.len()));
    let mut rows = vec![CheckedRows {
        purpose: Purpose::Training,
        questions: training_questions(config, dataset)?,
        processor: Arc::new(training_processor(config, &files)?),
        n_rows,
        n_looked_at: 0,
        survey: Survey::default(),
        golds: (config.method != Method::Sft).then(|| reward_settings(config)),
        unreadable: Vec::new(),
        n_new: (config.method != Method::Sft).then_some(config.rollout.max_new_tokens),
        positions,
    }];
    let eval = &config.eval;
    if eval.before_training || eval.after_training || config.train.eval_every > 0 {
        let asked = evaluation_questions(config)?;
        if config.held_out().is_none() {
            warn_of_rows(&asked.questions.dataset);
        }
        rows.push(CheckedRows {
            purpose: Purpose::Evaluation,
            n_rows: asked.settings.n_questions(&asked.questions.dataset),
            n_looked_at: 0,
            survey: Survey::default(),
            unreadable: Vec::new(),
            n_new: Some(asked.settings.max_new_tokens),
            positions,
            processor: asked.processor(&files)?,
            golds: Some(asked.golds),
            questions: asked.questions,
        });
    }
    for rows in &mut rows {
        look(rows, display);
    }
    Ok(rows)
}

fn look(rows: &mut CheckedRows, display: &ProgressDisplay) {
    let dataset = Arc::clone(&rows.questions.dataset);
    let is_drawn = matches!(dataset.as_ref(), Dataset::Drawn(_));
    let n = if is_drawn { rows.n_rows.min(DRAWN_ROWS) } else { rows.n_rows };
    let what = format!("{}: making rows into prompts", dataset.name());
    let mut so_far = SoFar::new(display, what, n);
    let mut show = |looked: usize| so_far.show(looked);
    rows.survey = survey(&rows.questions, &rows.processor, n, &mut show);
    rows.n_looked_at = n;
    if let Some(settings) = &rows.golds {
        let read = |(id, solution): (&str, &str)| {
            let why = Golds::parse(settings, solution).err()?;
            Some((id.to_owned(), why.to_string()))
        };
        rows.unreadable = dataset.listed_solutions().take(n).filter_map(read).collect();
    }
}
