//! Sampling completions: sampler, key-value cache, engine.

mod distribution;
pub mod sampler;
