//! Opening a model: its configuration, its tensors, and which of them are trained.
//! Not here: finding its files (`source`), its tokenizer and image settings (`processor`).

use candle_core::{DType, Device};

use super::config::Qwen2VlConfig;
use super::error::ModelError;
use super::files::ModelFiles;
use super::parameters::{Parameters, Trained};
use super::qwen2_vl::Qwen2Vl;
use super::weights;

/// Loads a model, of which the parameters named by `trained` are trainable.
///
/// # Errors
/// The files are not those of a Qwen2-VL, or a tensor cannot be made.
pub fn open(
    files: &ModelFiles,
    dtype: DType,
    device: &Device,
    trained: Trained,
) -> Result<Qwen2Vl, ModelError> {
    let config = Qwen2VlConfig::load(files)?;
    let tensors = weights::load(files, &config, dtype, device)?;
    let failed = |source| ModelError::Tensor { context: "building the model".to_owned(), source };
    let parameters = Parameters::new(tensors, trained).map_err(failed)?;
    Qwen2Vl::new(&config, parameters).map_err(failed)
}
