//! The tensors behind an answer in a file, for comparison with other programs.
//! Not here: the answer itself (`rollout::single`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Result as TensorResult, Tensor};

use crate::model::Model;
use crate::model::packed::{Packed, PackedGroup};
use crate::out_file;
use crate::processor::Prompt;
use crate::rollout::engine::Completion;

/// Why the file of tensors was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum DumpError {
    /// The tensor library.
    #[error("computing the tensors to write: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The file cannot be written.
    #[error("cannot write {}: {source}\nhint: check free space and permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the tensor library or the system said.
        source: candle_core::Error,
    },
}

/// Writes the tensors of an answer as safetensors to `path`.
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
pub(super) fn dump(
    model: &Model,
    prompt: &Prompt,
    completion: &Completion,
    path: &Path,
) -> Result<(), DumpError> {
    let tensors = tensors(model, prompt, completion)?;
    let written = safetensors::serialize(&tensors, None)
        .map_err(candle_core::Error::from)
        .and_then(|bytes| Ok(out_file::write(path, &bytes)?));
    written.map_err(|source| DumpError::Write { path: path.to_owned(), source })
}

fn tensors(
    model: &Model,
    prompt: &Prompt,
    completion: &Completion,
) -> TensorResult<HashMap<&'static str, Tensor>> {
    let group = PackedGroup { prompt, completions: Vec::new() };
    let packed = Packed::new(&[group])?;
    let logits = model.logits(&packed)?.to_device(&Device::Cpu)?; // [T, vocab]

    let integers = |numbers: Vec<i64>| Tensor::new(numbers, &Device::Cpu);
    let ids = |ids: &[u32]| integers(ids.iter().map(|&id| i64::from(id)).collect());
    let axis = |axis: usize| ids(&prompt.positions.iter().map(|p| p[axis]).collect::<Vec<_>>());
    let grid = packed.grids.iter().flatten().map(|&n| i64::try_from(n));
    let grid = grid.collect::<Result<Vec<_>, _>>().map_err(candle_core::Error::wrap)?;
    let pixels = (packed.pixel_values.len() / model.patch_dim(), model.patch_dim());
    Ok(HashMap::from([
        ("input_ids", ids(&prompt.input_ids)?),
        ("position_ids", Tensor::stack(&[axis(0)?, axis(1)?, axis(2)?], 0)?), // [3, T]
        ("pixel_values", Tensor::from_vec(packed.pixel_values, pixels, &Device::Cpu)?),
        ("image_grid_thw", integers(grid)?.reshape((packed.grids.len(), 3))?),
        ("logits", logits),
        ("completion_ids", ids(&completion.token_ids)?),
    ]))
}
