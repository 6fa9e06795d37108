//! Opening a model: its configuration, its tensors, and which of them are trained.
//! Not here: finding its files (`source`), its tokenizer and image settings (`processor`).

use candle_core::{DType, Device};

use super::config::ModelConfig;
use super::error::ModelError;
use super::files::ModelFiles;
use super::network::Model;
use super::parameters::{Parameters, Trained};
use super::weights;

/// Loads a model, of which the parameters named by `trained` are trainable.
///
/// # Errors
/// The files are not those of a model of a known family, or a tensor cannot be made.
pub fn open(
    files: &ModelFiles,
    dtype: DType,
    device: &Device,
    trained: Trained,
) -> Result<Model, ModelError> {
    let config = ModelConfig::load(files)?;
    let tensors = weights::load(files, &config, dtype, device)?;
    let failed = |source| ModelError::Tensor { context: "building the model".to_owned(), source };
    let parameters = Parameters::new(tensors, trained).map_err(failed)?;
    Model::new(&config, parameters).map_err(failed)
}
