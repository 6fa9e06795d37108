//! Communication between processes that train one model together.
//! Not here: what is summed (`accumulate`, `step`), the transport between processes.

use candle_core::{Result, Tensor};

/// The processes that share a run, each with its own shard of every update's prompts.
///
/// Every rank calls the same operations in the same order.
pub trait Ranks {
    /// Sums each number over the ranks, in place.
    ///
    /// # Errors
    /// A rank cannot be reached.
    fn sum(&self, values: &mut [f64]) -> Result<()>;

    /// Sums each tensor over the ranks, in place.
    ///
    /// # Errors
    /// A rank cannot be reached, or the tensors differ in shape.
    fn sum_tensors(&self, tensors: &[Tensor]) -> Result<()>;

    /// Replaces each tensor's values by those of the first rank, in place.
    ///
    /// # Errors
    /// As [`Ranks::sum_tensors`].
    fn broadcast(&self, tensors: &[Tensor]) -> Result<()>;

    /// Whether all ranks succeeded, so that either all continue or none does.
    ///
    /// # Errors
    /// A rank cannot be reached.
    fn all_succeeded(&self, succeeded: bool) -> Result<bool>;
}

/// A single process: sums are left as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Solo;

impl Ranks for Solo {
    fn sum(&self, _values: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn sum_tensors(&self, _tensors: &[Tensor]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, _tensors: &[Tensor]) -> Result<()> {
        Ok(())
    }

    fn all_succeeded(&self, succeeded: bool) -> Result<bool> {
        Ok(succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_all_have_succeeded_where_this_one_has() {
        assert!(Solo.all_succeeded(true).unwrap());
        assert!(!Solo.all_succeeded(false).unwrap());
    }
}
