//! Qwen2-VL on a packed token stream, and its files.
//!
//! Reading order: where the files come from ([`files`]), what their `config.json` says
//! ([`config`]).
//! Not here: images and text (`processor`), the arithmetic's single operations (`ops`).

pub mod error;
mod fields;
pub mod files;

pub mod config;
