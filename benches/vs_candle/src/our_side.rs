//! The program's model, with weights that are changed for a comparison.
//! Not here: which changes there are (`faults`); sampling (`decode`).

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use othink::model::Model;
use othink::model::config::ModelConfig;
use othink::model::family::Family;
use othink::model::files::ModelFiles;
use othink::model::parameters::{ParameterShape, Parameters, Trained};
use othink::model::weights;
use othink::processor::Prompt;

use crate::Refused;
use crate::faults::{Faults, hidden_in};

/// A checkpoint as the program reads it.
pub struct Ours {
    pub config: ModelConfig,
    tensors: Vec<(ParameterShape, Tensor)>,
}

impl Ours {
    /// Reads a folder.
    ///
    /// # Errors
    /// The folder does not hold a Qwen3-VL checkpoint.
    pub fn load(folder: &Path) -> Result<Self> {
        let files = ModelFiles::Folder(folder.to_owned());
        let config = ModelConfig::load(&files)?;
        if config.family != Family::Qwen3Vl {
            let (folder, found) = (folder.display(), config.family);
            let message = format!(
                "{folder} holds a model of {found:?}, expected Qwen3-VL\nhint: candle-transformers has no other"
            );
            return Err(Refused(message).into());
        }
        let tensors = weights::load(&files, &config, DType::F32, &Device::Cpu)?;
        Ok(Self { config, tensors })
    }

    /// The model, with weights that hide these faults.
    ///
    /// # Errors
    /// A tensor cannot be made.
    pub fn model(&self, hidden: Faults) -> Result<Model> {
        let layers = self.config.text.num_hidden_layers;
        let changed = self.tensors.iter().map(|(shape, tensor)| {
            Ok((shape.clone(), hidden_in(&shape.name, tensor, hidden, layers)?))
        });
        let parameters =
            Parameters::new(changed.collect::<Result<_>>()?, Trained::Nothing, DType::F32)?;
        Ok(Model::new(&self.config, parameters)?)
    }
}

/// Logits of the token after the prompt, `[vocab]`.
///
/// # Errors
/// Shapes do not fit.
pub fn logits(model: &Model, prompt: &Prompt) -> Result<Vec<f32>> {
    Ok(model.prefill(prompt)?.logits.to_vec1()?)
}
