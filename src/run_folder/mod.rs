//! A run on disk: its folder, its records, its checkpoints.
//!
//! In reading order: the folder and its lock ([`folder`], [`free`]), which keys identify a run ([`identity`]), what it is computed
//! from besides them ([`origin`]), when it was started ([`starts`]), what is written down
//! as it goes ([`records`], [`metrics`], [`json_lines`], [`follow`], [`tensorboard`]), what it is resumed from ([`checkpoint`],
//! [`manifest`], [`removal`]), what a failed update leaves ([`failed`]).
//! Not here: what is computed (`train`), reading run files (`config`).

pub mod checkpoint;
mod continuity;
mod durable;
mod error;
pub mod failed;
pub mod folder;
pub mod follow;
pub mod free;
pub mod identity;
pub mod json_lines;
pub mod manifest;
pub mod metrics;
mod number;
pub mod origin;
pub mod records;
pub mod removal;
pub mod starts;
pub mod tensorboard;

pub use error::RunFolderError;
pub use folder::RunFolder;
