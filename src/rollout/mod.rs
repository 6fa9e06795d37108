//! Sampling completions: sampler, key-value cache, engine.

pub mod sampler;
