//! The families of models that can be run: what differs from one to the other, chosen in one place.
//! Not here: the differences themselves, which are in the file of the family's name; what all share
//! (`config`, `tower`, `language`, `network`).
//!
//! Another family is a file like `qwen2_vl` and a line in every `match` of this one.

use serde_json::Value;

use super::config::VisionConfig;
use super::error::ModelError;
use super::fields::Section;
use super::tower::TowerParts;
use super::{qwen2_5_vl, qwen2_vl};

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Qwen2-VL (Wang et al. 2024).
    Qwen2Vl,
    /// Qwen2.5-VL (Bai et al. 2025).
    Qwen2_5Vl,
}

impl Family {
    /// Every one.
    const ALL: [Self; 2] = [Self::Qwen2Vl, Self::Qwen2_5Vl];

    /// What `model_type` in `config.json` says.
    fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "qwen2_vl",
            Self::Qwen2_5Vl => "qwen2_5_vl",
        }
    }

    /// What `architectures` in `config.json` holds.
    fn architecture(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "Qwen2VLForConditionalGeneration",
            Self::Qwen2_5Vl => "Qwen2_5_VLForConditionalGeneration",
        }
    }

    /// The family that a `config.json` names.
    pub(super) fn of(root: &Section) -> Result<Self, ModelError> {
        let wrong = |field, found: String, expected: String| ModelError::Architecture {
            file: root.file.to_owned(),
            field,
            found,
            expected,
        };
        let model_type = root.fields.get("model_type");
        let named = |family: &Self| model_type.and_then(Value::as_str) == Some(family.model_type());
        let Some(family) = Self::ALL.into_iter().find(named) else {
            let found = model_type.map_or_else(|| "missing".to_owned(), Value::to_string);
            let known = Self::ALL.map(|family| format!("{:?}", family.model_type()));
            return Err(wrong("model_type", found, known.join(" or ")));
        };
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
    ) -> Result<VisionConfig, ModelError> {
        match self {
            Self::Qwen2Vl => qwen2_vl::read_vision(section, text_hidden),
            Self::Qwen2_5Vl => qwen2_5_vl::read_vision(section, text_hidden),
        }
    }

    /// What the tower is made of.
    pub(super) fn tower(self) -> TowerParts {
        match self {
            Self::Qwen2Vl => qwen2_vl::TOWER,
            Self::Qwen2_5Vl => qwen2_5_vl::TOWER,
        }
    }
}
