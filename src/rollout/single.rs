//! One answer to one prompt, and the tensors behind it in a file, for comparison with other programs.
//! Not here: many completions at once (`engine`), what is asked (`cli`, `eval`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Result as TensorResult, Tensor};

use super::engine::{Completion, GenerationSettings, Request, generate};
use super::sampler::{Sampler, Suppressed};
use crate::model::packed::{Group, Packed};
use crate::model::qwen2_vl::Qwen2Vl;
use crate::out_file;
use crate::processor::{Processor, Prompt};
use crate::rng::{Purpose, Stream};

/// Why there is no answer, or no file of its tensors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SingleError {
    /// A prompt that leaves no room for its answer.
    #[error(
        "{n_prompt} prompt tokens and {n_new} new ones exceed the model's {limit} positions\n\
         hint: lower --max-new-tokens, or --max-pixels where there are images"
    )]
    TooLong {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens that may follow.
        n_new: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// The tensor library.
    #[error("decoding an answer: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The file of tensors cannot be written.
    #[error("cannot write {}: {source}\nhint: check free space and permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the tensor library or the system said.
        source: candle_core::Error,
    },
}

/// How one answer is decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct SingleSettings {
    /// How the next token is chosen.
    pub sampler: Sampler,
    /// Names the random numbers; greedy decoding draws none.
    pub seed: u64,
    /// The answer ends after so many tokens, finished or not.
    pub max_new_tokens: usize,
}

/// Decodes one answer. Greedily, it is the one that transformers' `generate` gives: no token is
/// suppressed. Sampled, ids that rollouts never draw are not drawn here either.
///
/// # Errors
/// The prompt leaves no room for `max_new_tokens`, or the model's own.
pub fn answer(
    model: &Qwen2Vl,
    processor: &Processor,
    prompt: &Prompt,
    settings: &SingleSettings,
) -> Result<Completion, SingleError> {
    let text = &model.config().text;
    let (n_prompt, n_new) = (prompt.input_ids.len(), settings.max_new_tokens);
    let limit = text.max_position_embeddings;
    if n_prompt.saturating_add(n_new) > limit {
        return Err(SingleError::TooLong { n_prompt, n_new, limit });
    }
    let markers = if settings.sampler.is_greedy() {
        Vec::new()
    } else {
        processor.never_sampled(text.vocab_size)
    };
    let generation = GenerationSettings {
        sampler: settings.sampler.clone(),
        suppressed: Suppressed::new(&markers, &[], 0),
        max_new_tokens: n_new,
        stop_ids: processor.special().stop_ids.clone(),
        max_batch: 1,
    };
    let stream = Stream::new(settings.seed, Purpose::Inference, 0, 0, 0);
    let request = Request { prompt: Cow::Borrowed(prompt), streams: vec![stream] };
    let completions = generate(model, vec![request], &generation, &mut |_| {})?;
    match completions.into_iter().flatten().next() {
        Some(completion) => Ok(completion),
        None => Err(candle_core::Error::Msg("no completion was decoded".to_owned()).into()),
    }
}

/// Writes the tensors of an answer as safetensors where `path` leads.
///
/// | tensor | shape | type |
/// |---|---|---|
/// | `input_ids` | `[T]` | i64 |
/// | `position_ids` | `[3, T]`: time, height, width | i64 |
/// | `pixel_values` | `[patches, patch_dim]`, normalised | f32 |
/// | `image_grid_thw` | `[images, 3]`, patches | i64 |
/// | `logits` | `[T, vocab]` of the prompt | f32 |
/// | `completion_ids` | `[N]`, a stop token included | i64 |
///
/// # Errors
/// The model's own, or the file cannot be written.
pub fn dump(
    model: &Qwen2Vl,
    prompt: &Prompt,
    completion: &Completion,
    path: &Path,
) -> Result<(), SingleError> {
    let tensors = tensors(model, prompt, completion)?;
    let written = safetensors::serialize(&tensors, None)
        .map_err(candle_core::Error::from)
        .and_then(|bytes| Ok(out_file::write(path, &bytes)?));
    written.map_err(|source| SingleError::Write { path: path.to_owned(), source })
}

fn tensors(
    model: &Qwen2Vl,
    prompt: &Prompt,
    completion: &Completion,
) -> TensorResult<HashMap<&'static str, Tensor>> {
    let vision = &model.config().vision;
    let token = model.config().image_token_id;
    let group = Group { prompt, completions: Vec::new() };
    let packed = Packed::new(&[group], token, vision.spatial_merge_size)?;
    let logits = model.logits(&packed)?.to_device(&Device::Cpu)?; // [T, vocab]

    let integers = |numbers: Vec<i64>| Tensor::new(numbers, &Device::Cpu);
    let ids = |ids: &[u32]| integers(ids.iter().map(|&id| i64::from(id)).collect());
    let axis = |axis: usize| ids(&prompt.positions.iter().map(|p| p[axis]).collect::<Vec<_>>());
    let grid = packed.grids.iter().flatten().map(|&n| i64::try_from(n));
    let grid = grid.collect::<Result<Vec<_>, _>>().map_err(candle_core::Error::wrap)?;
    let n_patches = packed.pixel_values.len() / vision.patch_dim();
    let pixels = (n_patches, vision.patch_dim());
    Ok(HashMap::from([
        ("input_ids", ids(&prompt.input_ids)?),
        ("position_ids", Tensor::stack(&[axis(0)?, axis(1)?, axis(2)?], 0)?), // [3, T]
        ("pixel_values", Tensor::from_vec(packed.pixel_values, pixels, &Device::Cpu)?),
        ("image_grid_thw", integers(grid)?.reshape((packed.grids.len(), 3))?),
        ("logits", logits),
        ("completion_ids", ids(&completion.token_ids)?),
    ]))
}
