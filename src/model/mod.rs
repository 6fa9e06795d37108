//! Qwen2-VL on a packed token stream, and its files.
//!
//! Reading order: where the files come from ([`source`], [`files`]), what `config.json` says
//! ([`config`]), the tensors ([`names`], `shard`, [`weights`], [`save`]), where they live
//! ([`device`]).
//! Not here: images and text (`processor`), the arithmetic's single operations (`ops`).

pub mod error;
mod fields;
pub mod files;
pub mod source;

pub mod config;
pub mod device;
pub mod names;
pub mod save;
pub(crate) mod shard;
pub mod weights;
