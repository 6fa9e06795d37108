//! Sampling completions.
//!
//! In reading order: choosing a token ([`sampler`], over a `distribution`), making the tokens of many completions
//! (`decoder`, by the host `host_decoder`, by a GPU `device_decoder`), which completion decodes when (`schedule`), the two together ([`engine`]);
//! taking recorded completions instead ([`replay`]); answering one prompt ([`single`]).
//! Not here: the model's arithmetic and its cache (`model::decoding`), scoring (`reward`).

mod decoder;
#[cfg(feature = "cuda")]
mod device_decoder;
mod distribution;
pub mod engine;
mod host_decoder;
pub mod replay;
pub mod sampler;
mod schedule;
pub mod single;
