//! The run file: one TOML file that says everything about a training run.
//!
//! [`RunConfig`] and one struct per section, each with its defaults beside their sources; finding
//! the file ([`ConfigFile`]); `--set` overrides; validation, once, with messages that name file,
//! line and key. Other modules rely on the values without checking them again.
//! Not here: what the values do (each module below takes the plain numbers it needs), nor the
//! command line's own flags (`cli`).

mod builtin;
mod choice;
mod data;
mod document;
mod error;
mod eval;
mod file;
mod grpo;
mod kl;
mod known_keys;
mod lora;
mod model;
mod nearest;
mod optim;
mod other_trainers;
mod overrides;
mod reward;
mod rollout;
mod rule;
mod run_config;
mod run_file_paths;
mod schema;
mod sft;
mod train;
mod unread;
mod update_span;
mod violation;

pub use builtin::builtin_names;
pub use choice::{CheckpointingChoice, DTypeChoice, DeviceChoice, UnknownChoice};
pub use data::{DataConfig, DataFields, OnBadRow, RowBoxes};
pub use error::ConfigError;
pub use eval::EvalConfig;
pub use file::ConfigFile;
pub use grpo::GrpoConfig;
pub use kl::{KlConfig, KlScheduleKind};
pub use lora::LoraConfig;
pub use model::{ModelConfig, PAPERS_MODEL};
pub use nearest::nearest;
pub use optim::{GradientSums, LrScheduleKind, MasterWeights, OptimConfig};
pub use reward::{RewardCommand, RewardConfig, RewardWeights};
pub use rollout::RolloutConfig;
pub use run_config::{Method, RunConfig};
pub use schema::schema;
pub use sft::{SftConfig, SftTarget};
pub use train::{RunLength, TrainConfig};
pub use update_span::UpdateSpan;
