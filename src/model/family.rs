//! The families of models that can be run: what differs from one to the other, chosen in one place.
//! Not here: the differences themselves, which are in the file of the family's name; what all share
//! (`config`, `language`, `network`).
//!
//! Another family is a file like `qwen2_vl` and a line in every `match` of this one.

use candle_core::{Result, Tensor};
use serde_json::Value;

use super::config::{ModelConfig, VisionConfig};
use super::error::ModelError;
use super::fields::Section;
use super::parameters::Parameters;
use super::qwen2_vl;
use super::stages::{Kept, Stages};

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Qwen2-VL (Wang et al. 2024).
    Qwen2Vl,
}

impl Family {
    /// What `model_type` in `config.json` says.
    fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "qwen2_vl",
        }
    }

    /// What `architectures` in `config.json` holds.
    fn architecture(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "Qwen2VLForConditionalGeneration",
        }
    }

    /// The family that a `config.json` names.
    pub(super) fn of(root: &Section) -> std::result::Result<Self, ModelError> {
        let family = Self::Qwen2Vl;
        let wrong = |field, found: String, expected: String| ModelError::Architecture {
            file: root.file.to_owned(),
            field,
            found,
            expected,
        };
        let model_type = root.fields.get("model_type");
        if model_type.and_then(Value::as_str) != Some(family.model_type()) {
            let found = model_type.map_or_else(|| "missing".to_owned(), Value::to_string);
            return Err(wrong("model_type", found, format!("{:?}", family.model_type())));
        }
        // A bare `save_pretrained` of a configuration leaves `architectures` out.
        match root.fields.get("architectures") {
            None | Some(Value::Null) => Ok(family),
            Some(Value::Array(names)) if names.iter().any(|n| n == family.architecture()) => {
                Ok(family)
            }
            Some(found) => {
                let expected = format!("a list with {:?}", family.architecture());
                Err(wrong("architectures", found.to_string(), expected))
            }
        }
    }

    /// The tower's sizes, from `vision_config`.
    pub(super) fn read_vision(
        self,
        section: &Section,
        text_hidden: usize,
    ) -> std::result::Result<VisionConfig, ModelError> {
        match self {
            Self::Qwen2Vl => qwen2_vl::read_vision(section, text_hidden),
        }
    }

    /// The tower's parameters by their hub names, in the order of the hub's module tree.
    pub(super) fn vision_shapes(
        self,
        vision: &VisionConfig,
        text_hidden: usize,
    ) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Qwen2Vl => qwen2_vl::vision_shapes(vision, text_hidden),
        }
    }

    /// Elements kept per patch in one block of the tower until its backward pass.
    pub(super) fn kept_by_block(self, vision: &VisionConfig) -> Kept {
        match self {
            Self::Qwen2Vl => qwen2_vl::kept_by_block(vision),
        }
    }

    /// The same where candle's operations compose the block, without attention's scores.
    pub(super) fn kept_by_plain_block(self, vision: &VisionConfig) -> Kept {
        match self {
            Self::Qwen2Vl => qwen2_vl::kept_by_plain_block(vision),
        }
    }

    /// Elements kept per patch in the merger, where patches become tokens.
    pub(super) fn kept_by_merger(self, vision: &VisionConfig, text_hidden: usize) -> usize {
        match self {
            Self::Qwen2Vl => qwen2_vl::kept_by_merger(vision, text_hidden),
        }
    }
}

/// The vision tower of a model, of whichever family.
#[derive(Debug, Clone)]
pub enum VisionTower {
    /// Qwen2-VL's.
    Qwen2Vl(qwen2_vl::VisionTower),
}

impl VisionTower {
    /// Takes its parameters by their hub names.
    ///
    /// # Errors
    /// A parameter is missing.
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        match config.family {
            Family::Qwen2Vl => {
                qwen2_vl::VisionTower::new(&config.vision, parameters).map(Self::Qwen2Vl)
            }
        }
    }

    /// Embeds the patches of all images of a stream.
    ///
    /// - `patches`: `[patches, channels * frames * side * side]` in the run's dtype, images one after
    ///   the other; `grids`: frames, rows and columns of patches per image
    /// - returns `[patches / merge^2, hidden]`
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn forward<'m>(
        &'m self,
        stages: &mut impl Stages<'m>,
        patches: &Tensor,
        grids: &[[usize; 3]],
    ) -> Result<Tensor> {
        match self {
            Self::Qwen2Vl(tower) => tower.forward(stages, patches, grids),
        }
    }
}
