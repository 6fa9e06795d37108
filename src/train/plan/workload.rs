//! What one update computes on, at the longest: prompts, completions, packed streams.
//! Not here: what that holds (`memory`) and how long it takes (`time`).

use serde::Serialize;

use super::fit::Lengths;
use crate::config::{Method, OnBadRow, RunConfig};
use crate::data::Questions;
use crate::model::config::ModelConfig;
use crate::model::parameters::ParameterGroup;
use crate::processor::Processor;
use crate::train::error::TrainError;
use crate::train::micro_batch::{GroupSlice, micro_batches};
use crate::train::supervised_update::taught_text;

/// Rows that are made into prompts to measure the prompts' length.
const N_LOOKED_AT: usize = 24;
/// Text tokens of a prompt where no row could be read: R1-V's template, chat markers, a question.
const TEXT_TOKENS: usize = 120;

/// What one update computes on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// Rows of an epoch.
    pub rows: usize,
    /// Whether the rows and the longest prompt were read from the data, rather than taken from published sizes and limits.
    pub is_measured: bool,
    /// Tokens of the longest prompt, pictures included.
    pub prompt_tokens: usize,
    /// Patches of its pictures.
    pub patches: usize,
    /// Its pictures.
    pub pictures: usize,
    /// Prompts of an update.
    pub prompts: usize,
    /// Completions of each prompt.
    pub group_size: usize,
    /// Tokens of the longest completion.
    pub completion_tokens: usize,
    /// Prompts and completions of each packed stream of an update.
    pub streams: Vec<Stream>,
}

/// A packed stream: a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// Prompts, each with its completions or some of them.
    pub groups: usize,
    /// Tokens.
    pub tokens: usize,
    /// Tokens whose log-probability is taken.
    pub scored: usize,
    /// Patches of its pictures.
    pub patches: usize,
}

impl Stream {
    /// What a component of the model computes on: tokens or patches.
    pub(super) fn rows(&self, group: ParameterGroup) -> usize {
        match group {
            ParameterGroup::Language => self.tokens,
            ParameterGroup::Vision => self.patches,
        }
    }
}

impl Workload {
    /// - `rows`: of an epoch
    /// - `at_hand`: the rows and the processor, where both have been opened
    pub(super) fn of(
        config: &RunConfig,
        model: &ModelConfig,
        rows: usize,
        at_hand: Option<(&Questions, &Processor)>,
    ) -> Result<Self, TrainError> {
        let longest = at_hand.map(|(rows, processor)| longest_row(config, rows, processor));
        let longest = longest.transpose()?;
        let is_measured = longest.is_some();
        let Longest { prompt_tokens, patches, pictures, taught_tokens } =
            longest.unwrap_or_else(|| {
                let patches = most_patches(config, model);
                let prompt_tokens = image_tokens(model, patches) + TEXT_TOKENS;
                let taught_tokens = config.rollout.max_new_tokens;
                Longest { prompt_tokens, patches, pictures: 1, taught_tokens }
            });
        let read = Self {
            rows,
            is_measured,
            prompt_tokens,
            patches,
            pictures,
            prompts: 0,
            group_size: 1,
            completion_tokens: taught_tokens,
            streams: Vec::new(),
        };
        Ok(read.under(config, model))
    }

    /// The same rows under another configuration, of the same method: other streams, other lengths of completions, and
    /// pictures of no more than its pixels.
    pub(super) fn under(&self, config: &RunConfig, model: &ModelConfig) -> Self {
        let patches = self.patches.min(self.pictures * most_patches(config, model));
        let prompt_tokens = self.prompt_tokens - image_tokens(model, self.patches - patches);
        let (group_size, completion_tokens) = match config.method {
            Method::Sft => (1, self.completion_tokens),
            Method::Grpo | Method::GrpoD => (config.grpo.group_size, config.rollout.max_new_tokens),
        };
        let prompts = config.grpo.prompts_per_update;
        let groups = vec![(prompt_tokens, vec![completion_tokens; group_size]); prompts];
        let stream = |slices: &Vec<GroupSlice>| {
            let scored = slices
                .iter()
                .map(|slice| slice.completions.len() * completion_tokens)
                .sum::<usize>();
            // A completion's last token is not fed.
            let unfed: usize = slices.iter().map(|slice| slice.completions.len()).sum();
            let tokens = slices.len() * prompt_tokens + scored - unfed;
            Stream { groups: slices.len(), tokens, scored, patches: slices.len() * patches }
        };
        let streams = micro_batches(&groups, config.train.tokens_per_micro_batch);
        let streams = streams.iter().map(stream).collect();
        Self { prompt_tokens, patches, prompts, group_size, completion_tokens, streams, ..*self }
    }

    /// The longest that is computed on at once.
    pub(super) fn lengths(&self) -> Lengths {
        let stream = self.streams.iter().map(|stream| stream.tokens).max().unwrap_or(0);
        // As `micro_batches` counts.
        Lengths { stream, group: self.prompt_tokens + self.group_size * self.completion_tokens }
    }

    /// Completions of an update.
    pub fn completions(&self) -> usize {
        self.prompts * self.group_size
    }
}

/// Patches of the largest picture that is looked at.
fn most_patches(config: &RunConfig, model: &ModelConfig) -> usize {
    config.data.max_pixels / model.vision.patch_size.pow(2)
}

/// Tokens that patches become.
fn image_tokens(model: &ModelConfig, patches: usize) -> usize {
    patches / model.vision.spatial_merge_size.pow(2)
}

/// The largest counts among some rows, evenly spaced over the data.
#[derive(Default)]
struct Longest {
    prompt_tokens: usize,
    patches: usize,
    pictures: usize,
    /// Tokens that supervised training teaches.
    taught_tokens: usize,
}

fn longest_row(
    config: &RunConfig,
    questions: &Questions,
    processor: &Processor,
) -> Result<Longest, TrainError> {
    let n_rows = questions.dataset.len();
    let step = (n_rows / N_LOOKED_AT).max(1);
    let mut longest = Longest::default();
    for row in (0..n_rows).step_by(step).take(N_LOOKED_AT) {
        let (sample, prompt) = match questions.prompt(processor, row) {
            Ok(question) => question,
            Err(_) if config.data.on_bad_row == OnBadRow::Skip => continue,
            Err(error) => return Err(error.into()),
        };
        let patches =
            prompt.images.iter().map(|image| image.grid_thw.iter().product::<usize>()).sum();
        longest.prompt_tokens = longest.prompt_tokens.max(prompt.input_ids.len());
        longest.patches = longest.patches.max(patches);
        longest.pictures = longest.pictures.max(prompt.images.len());
        if config.method == Method::Sft {
            let taught = processor.encode_taught(&taught_text(&sample, config.sft.target)?)?;
            longest.taught_tokens = longest.taught_tokens.max(taught.len() + 1);
        }
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use super::super::test_model::one_layer;
    use super::*;

    /// Pictures of 2 x 2 pixels a patch, four patches a token.
    #[test]
    fn smaller_pictures_and_budgets_change_prompts_and_streams() {
        let read = Workload {
            rows: 9,
            is_measured: true,
            prompt_tokens: 20,
            patches: 40,
            pictures: 2,
            prompts: 0,
            group_size: 1,
            completion_tokens: 0,
            streams: Vec::new(),
        };
        let mut config = RunConfig::default();
        (config.grpo.prompts_per_update, config.grpo.group_size) = (2, 3);
        (config.rollout.max_new_tokens, config.data.max_pixels) = (5, 1 << 20);
        let whole = read.under(&config, &one_layer(true));
        // Two groups: 20 tokens and three times 4 that are fed.
        let stream = Stream { groups: 2, tokens: 64, scored: 30, patches: 80 };
        assert_eq!((whole.prompt_tokens, whole.patches), (20, 40));
        assert_eq!(whole.streams, [stream]);
        assert_eq!(whole.lengths(), Lengths { stream: 64, group: 35 });
        config.data.max_pixels = 64; // 16 patches a picture: 32, two tokens fewer
        config.train.tokens_per_micro_batch = 30;
        let small = whole.under(&config, &one_layer(true));
        assert_eq!((small.rows, small.prompt_tokens, small.patches), (9, 18, 32));
        let part = |n: usize| Stream { groups: 1, tokens: 18 + 4 * n, scored: 5 * n, patches: 32 };
        assert_eq!(small.streams, [part(2), part(1), part(2), part(1)]);
    }
}
