//! Choices that the run file and the command line spell alike: number format, device, activation checkpointing.
//! Not here: opening a device (`model::device`).

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A word that is not among the choices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {what}, expected {expected}")]
pub struct UnknownChoice {
    what: &'static str,
    found: String,
    expected: &'static str,
}

/// Number format of parameters and matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DTypeChoice {
    /// f32 on the CPU, bf16 on CUDA.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// Brain floats, 16 bit.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl fmt::Display for DTypeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl FromStr for DTypeChoice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            found => Err(UnknownChoice {
                what: "number format",
                found: found.to_owned(),
                expected: "auto, f32, bf16 or f16",
            }),
        }
    }
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first CUDA device where the build and the machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of that index.
    Cuda(usize),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(device_idx) => write!(f, "cuda:{device_idx}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        let device_idx = match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|digits| digits.parse().ok()),
        };
        device_idx.map(Self::Cuda).ok_or_else(|| UnknownChoice {
            what: "device",
            found: text.to_owned(),
            expected: "auto, cpu, cuda or cuda:N",
        })
    }
}

/// Which activations the backward pass computes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointingChoice {
    /// None; also spelt `false`.
    #[default]
    None,
    /// Those of MLPs.
    Mlp,
    /// All but the vocabulary head's; also spelt `true`.
    Full,
}

impl fmt::Display for CheckpointingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Mlp => "mlp",
            Self::Full => "full",
        })
    }
}

impl FromStr for CheckpointingChoice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "none" => Ok(Self::None),
            "mlp" => Ok(Self::Mlp),
            "full" => Ok(Self::Full),
            found => Err(UnknownChoice {
                what: "kind of activation checkpointing",
                found: found.to_owned(),
                expected: "none, mlp or full",
            }),
        }
    }
}

impl Serialize for CheckpointingChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A word, or `true` and `false`, which were the choice once.
impl<'de> Deserialize<'de> for CheckpointingChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl Visitor<'_> for Word {
            type Value = CheckpointingChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("none, mlp or full")
            }

            fn visit_bool<E: Error>(self, all: bool) -> Result<CheckpointingChoice, E> {
                Ok(if all { CheckpointingChoice::Full } else { CheckpointingChoice::None })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CheckpointingChoice, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Word)
    }
}

impl TryFrom<String> for DTypeChoice {
    type Error = UnknownChoice;

    fn try_from(text: String) -> Result<Self, UnknownChoice> {
        text.parse()
    }
}

impl From<DTypeChoice> for String {
    fn from(choice: DTypeChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = UnknownChoice;

    fn try_from(text: String) -> Result<Self, UnknownChoice> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_spelling_parses_and_prints_back() {
        for (text, expected) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            let device: DeviceChoice = text.parse().unwrap();
            assert_eq!(device, expected);
            assert_eq!(device.to_string().parse::<DeviceChoice>().unwrap(), expected);
        }
    }

    #[test]
    fn device_that_does_not_exist_is_named() {
        for text in ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", ""] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is not a device, expected auto, cpu, cuda or cuda:N")
            );
        }
    }

    #[test]
    fn every_number_format_parses_and_prints_back() {
        for text in ["auto", "f32", "bf16", "f16"] {
            assert_eq!(text.parse::<DTypeChoice>().unwrap().to_string(), text);
        }
        assert!("float32".parse::<DTypeChoice>().is_err());
    }
}
