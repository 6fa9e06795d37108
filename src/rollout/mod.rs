//! Sampling completions.
//!
//! In reading order: choosing a token ([`sampler`], over a `distribution`), decoding many completions
//! at once ([`engine`]), taking recorded ones instead ([`replay`]), answering one prompt ([`single`]).
//! Not here: the model's arithmetic and its cache (`model::decoding`), scoring (`reward`).

mod distribution;
pub mod engine;
pub mod replay;
pub mod sampler;
pub mod single;
