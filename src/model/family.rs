//! The families of models that can be run: what differs from one to the other, chosen in one place.
//! Not here: the differences themselves, which are in the file of the family's name; what all share
//! (`config`, `tower`, `language`, `network`).
//!
//! Another family is a file like `qwen2_vl` and a line in every `match` of this one.

use serde_json::Value;

use super::config::TextDefaults;
use super::error::ModelError;
use super::fields::Section;
use super::tower_parts::TowerParts;
use super::vision_config::VisionConfig;
use super::{qwen2_5_vl, qwen2_vl, qwen3_vl};

/// In which unit a model writes and reads the coordinates of boxes in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxes {
    /// Thousandths of the picture's width and height.
    Thousandths,
    /// Pixels of the picture as the model sees it, scaled by the image processor.
    SeenPixels,
}

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Qwen2-VL (Wang et al. 2024).
    Qwen2Vl,
    /// Qwen2.5-VL (Bai et al. 2025).
    Qwen2_5Vl,
    /// Qwen3-VL (Bai et al. 2025), the dense models.
    Qwen3Vl,
}

impl Family {
    /// Every one.
    const ALL: [Self; 3] = [Self::Qwen2Vl, Self::Qwen2_5Vl, Self::Qwen3Vl];

    /// What `model_type` in `config.json` says.
    fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "qwen2_vl",
            Self::Qwen2_5Vl => "qwen2_5_vl",
            Self::Qwen3Vl => "qwen3_vl",
        }
    }

    /// What `architectures` in `config.json` holds.
    fn architecture(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "Qwen2VLForConditionalGeneration",
            Self::Qwen2_5Vl => "Qwen2_5_VLForConditionalGeneration",
            Self::Qwen3Vl => "Qwen3VLForConditionalGeneration",
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
        let Some(family) = model_type.and_then(Value::as_str).and_then(Self::named) else {
            let found = model_type.map_or_else(|| "missing".to_owned(), Value::to_string);
            let found = format!("{found}{}", why_not(model_type.and_then(Value::as_str)));
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

    /// The family with this `model_type`.
    pub fn named(model_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == model_type)
    }

    /// The unit of boxes that the family was trained with. Qwen2-VL's are normalised to 0 to 1000 (Wang et al. 2024),
    /// Qwen2.5-VL's are in pixels of the resized picture (issue 866 of `QwenLM/Qwen3-VL`, both), Qwen3-VL's relative again, 0 to
    /// 1000 (issue 1741 there, quoting its cookbook).
    pub fn boxes(self) -> Boxes {
        match self {
            Self::Qwen2Vl | Self::Qwen3Vl => Boxes::Thousandths,
            Self::Qwen2_5Vl => Boxes::SeenPixels,
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
            Self::Qwen3Vl => qwen3_vl::read_vision(section, text_hidden),
        }
    }

    /// What the tower is made of.
    pub(super) fn tower(self) -> TowerParts {
        match self {
            Self::Qwen2Vl => qwen2_vl::TOWER,
            Self::Qwen2_5Vl => qwen2_5_vl::TOWER,
            Self::Qwen3Vl => qwen3_vl::TOWER,
        }
    }

    /// What the decoder is made of, with the values of keys that its configuration may leave out.
    pub(super) fn decoder(self) -> TextDefaults {
        match self {
            Self::Qwen2Vl | Self::Qwen2_5Vl => qwen2_vl::DECODER,
            Self::Qwen3Vl => qwen3_vl::DECODER,
        }
    }
}

/// Why a model that resembles these is none of them.
fn why_not(model_type: Option<&str>) -> &'static str {
    match model_type {
        Some("qwen3_vl_moe") => " (a mixture of experts)",
        Some(name) if name.starts_with("qwen3_5") => " (gated delta networks)",
        Some("qwen2_vl_text" | "qwen2_5_vl_text" | "qwen3_vl_text" | "qwen2" | "qwen3") => {
            " (a language model without a vision tower)"
        }
        _ => "",
    }
}
