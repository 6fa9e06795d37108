//! `[data]`: what is trained on and how a row becomes a prompt.
//! Not here: reading rows and drawing tasks (`data`); the pixels themselves (`processor`).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::violation::{Violation, count, require};
use crate::limits;

/// `[data]`. At least one of `task` and `train` is set.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// A task by name, such as `synth-vc`: its data, template and evaluation together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A file of samples, or a folder that holds one; beside `task`, in place of that task's own
    /// rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Where relative image paths of `train` start; without it, at the file's own folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_root: Option<PathBuf>,
    /// A template's name, or a text of one's own with `{problem}` in it; without it, the task's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The unit of boxes in rows, which are then written in the model's own; without it they are taken to be in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<RowBoxes>,
    /// Images with fewer pixels are enlarged.
    pub min_pixels: usize,
    /// Images with more pixels are shrunk.
    pub max_pixels: usize,
    /// What happens at a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// Counts solutions that the reward's rule cannot read, rather than refuse them; no completion can be right for one.
    pub allow_unparsable: bool,
    /// Makes markers such as `<|im_end|>` in questions and taught completions the model's own tokens, as transformers does;
    /// without it they are text, and data can open neither a turn nor an image.
    pub allow_markers: bool,
    /// Side of the images that the synthetic tasks draw, in pixels.
    pub image_size: u32,
    /// Seed of the rows that the synthetic tasks draw. Not the run's seed, so that runs which are
    /// compared share their rows.
    pub drawing_seed: u64,
    /// At most that many samples are used; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_samples: Option<usize>,
    /// Draws a new order for each epoch from the run's seed.
    pub shuffle: bool,
    /// Threads that decode pictures and make prompts ahead of the trainer. Changes speed alone.
    pub workers: usize,
    /// Prompts that are made ahead; bounds the decoded pictures held in memory. Changes speed and memory alone.
    pub prefetch: usize,
    /// The fraction of `train`'s rows that are not trained on and that the run measures itself on; `drawing_seed` says
    /// which. Without it 0.1 where the run evaluates itself and names no other questions, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<f64>,
    /// What rows call their fields, where it is none of the known names.
    #[serde(skip_serializing_if = "DataFields::is_empty")]
    pub fields: DataFields,
}

/// `[data.fields]`: the name of the field that holds each thing, in the place of the known names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataFields {
    /// The pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The right answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
    /// What supervised training teaches, as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// What supervised training teaches before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

impl DataFields {
    /// Each thing's key and the name that was given for it.
    fn named(&self) -> [(&'static str, Option<&str>); 5] {
        let Self { image, problem, solution, completion, reasoning } = self;
        [
            ("data.fields.image", image.as_deref()),
            ("data.fields.problem", problem.as_deref()),
            ("data.fields.solution", solution.as_deref()),
            ("data.fields.completion", completion.as_deref()),
            ("data.fields.reasoning", reasoning.as_deref()),
        ]
    }

    fn is_empty(&self) -> bool {
        self.named().iter().all(|(_, name)| name.is_none())
    }

    fn check(&self) -> Result<(), Violation> {
        let named = self.named();
        for (idx, (key, name)) in named.iter().enumerate() {
            let Some(name) = name else { continue };
            let example = "for example data.fields.problem = \"question_text\"";
            require(!name.is_empty(), *key, "empty", "the name of a field", example)?;
            let is_taken = named[..idx].iter().any(|(_, other)| *other == Some(name));
            let expected = "a field that holds nothing else";
            require(!is_taken, *key, format!("{name:?}, as another key is"), expected, example)?;
        }
        Ok(())
    }
}

/// The fraction of one's own rows that a run holds out by default to measure itself on.
pub(super) const DEFAULT_HOLD_OUT: f64 = 0.1; // ours

/// What happens at a row that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// Ends the run, naming file and row.
    #[default]
    Fail,
    /// Leaves the row out and counts it.
    Skip,
}

/// The unit of boxes in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RowBoxes {
    /// Pixels of the picture as it is in its file.
    Pixels,
    /// Thousandths of the picture's width and height.
    Thousandths,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            task: None,
            train: None,
            image_root: None,
            template: None,
            boxes: None,
            min_pixels: 3136,    // R1-V: --min_pixels 3136, four merged patches
            max_pixels: 401_408, // R1-V's README: --max_pixels 401408, 512 merged patches
            on_bad_row: OnBadRow::Fail,
            allow_unparsable: false,
            allow_markers: false, // ours
            image_size: 112,      // ours: 16 merged patches
            drawing_seed: 0,
            max_samples: None,
            shuffle: true, // transformers' Trainer draws a random order
            workers: 2,    // ours: a picture takes milliseconds, an update seconds
            prefetch: 16,  // ours: at 401408 pixels 10 MB each
            hold_out: None,
            fields: DataFields::default(),
        }
    }
}

impl DataConfig {
    pub(super) fn check(&self) -> Result<(), Violation> {
        self.check_source()?;
        if let Some(template) = &self.template {
            require(
                !template.trim().is_empty(),
                "data.template",
                "empty",
                "a template's name or a text with {problem}",
                "leave the key out for the task's own template",
            )?;
        }
        count(
            "data.min_pixels",
            self.min_pixels,
            limits::PICTURE_PIXELS as usize,
            "one merged patch has 784 pixels",
        )?;
        require(
            (self.min_pixels.max(784)..=limits::PICTURE_PIXELS as usize).contains(&self.max_pixels),
            "data.max_pixels",
            self.max_pixels,
            &format!(
                "at least 784 and at least data.min_pixels ({}), at most {}",
                self.min_pixels,
                limits::PICTURE_PIXELS
            ),
            "784 pixels make one merged patch, the least an image can have",
        )?;
        require(
            (56..=2048).contains(&self.image_size),
            "data.image_size",
            self.image_size,
            "a whole number of pixels from 56 to 2048",
            "28 pixels are one merged patch a side; 112 keeps updates fast on a CPU",
        )?;
        count("data.workers", self.workers, limits::WORKERS, "2 is the default")?;
        count("data.prefetch", self.prefetch, limits::BATCH, "16 is the default")?;
        self.fields.check()?;
        if let Some(fraction) = self.hold_out {
            require(
                (0.0..1.0).contains(&fraction),
                "data.hold_out",
                fraction,
                "a number from 0.0 to below 1.0",
                "0.1 holds out every tenth row, 0.0 none",
            )?;
        }
        self.max_samples.map_or(Ok(()), |max_samples| {
            count(
                "data.max_samples",
                max_samples,
                limits::ROWS,
                "leave the key out to use every sample",
            )
        })
    }

    fn check_source(&self) -> Result<(), Violation> {
        let example = "for example data.task = \"synth-vc\", or data.train = \"train.jsonl\"";
        require(
            self.task.is_some() || self.train.is_some(),
            "data.task",
            "not set",
            "a task's name, or a file of samples as data.train",
            example,
        )?;
        for (key, value) in [("data.task", &self.task), ("data.train", &self.train)] {
            let is_empty = value.as_deref().is_some_and(|text| text.trim().is_empty());
            require(!is_empty, key, "empty", "a name", example)?;
        }
        require(
            i64::try_from(self.drawing_seed).is_ok(),
            "data.drawing_seed",
            self.drawing_seed,
            "a whole number below 2^63",
            "TOML's whole numbers end there",
        )
    }
}
