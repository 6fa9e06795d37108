//! Differentiable operations: a fast CPU form each, and its plain composition for every device.
