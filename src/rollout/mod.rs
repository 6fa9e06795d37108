//! Sampling completions: sampler, key-value cache, engine.
