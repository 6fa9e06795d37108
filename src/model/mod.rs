//! A vision-language model on a packed token stream, and its files.
//!
//! Reading order: where the files come from ([`source`], [`files`]), what `config.json` says ([`config`], [`vision_config`])
//! and is known of without them ([`published`]), the tensors ([`names`], `shard`, [`weights`], [`save`]), where they live
//! ([`device`], [`gpu`]) and what those are called ([`identity`]); all parameters ([`parameters`]) and the maps made of them
//! ([`linear`]), the stream ([`packed`]), running in stages ([`stages`]); the decoder ([`language`]) and the vision [`tower`]
//! with its [`windows`] and [`learned_positions`], the [`angles`] of both, which [`family`] is made of what; the [`Model`],
//! decoding over a cache ([`decoding`], on a GPU `gpu_decoding`), opening all of it ([`mod@open`]).
//! Not here: images and text (`processor`), the single operations (`ops`). Which family a model belongs to
//! matters in these modules and in `processor`, and nowhere else.

pub mod error;
mod fields;
pub mod files;
pub mod source;

pub mod config;
pub mod device;
pub mod gpu;
pub mod identity;
pub mod names;
pub mod published;
pub mod save;
pub(crate) mod shard;
#[cfg(test)]
mod test_checkpoint;
pub mod vision_config;
pub mod weights;

pub mod parameters;
pub mod precision;

pub mod linear;

pub mod lora;

pub mod adapter;

pub mod packed;

pub mod stages;

pub mod angles;

pub mod language;

pub mod windows;

pub mod learned_positions;

mod tower_parts;

pub mod tower;

mod qwen2_5_vl;
mod qwen2_vl;
mod qwen3_vl;

pub mod family;

mod network;

pub mod decoding;
#[cfg(feature = "cuda")]
pub mod gpu_decoding;
#[cfg(feature = "cuda")]
mod merged_weights;

pub mod open;

pub use self::network::{Backward, Model};
