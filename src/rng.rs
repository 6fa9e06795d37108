//! Counter-based random numbers: a pure function of (seed, purpose, update, sample, completion, token).
