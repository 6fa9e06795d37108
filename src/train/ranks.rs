//! What several processes that train one model together need of each other.
//! Not here: what is summed (`accumulate`, `step`), the transport between processes.

use candle_core::{Result, Tensor};

/// The processes that share a run, each with a part of every update's prompts.
///
/// Every rank calls the same operations in the same order.
pub trait Ranks {
    /// Adds each number up over the ranks, in place.
    ///
    /// # Errors
    /// A rank cannot be reached.
    fn sum(&self, values: &mut [f64]) -> Result<()>;

    /// Adds each tensor up over the ranks, in place.
    ///
    /// # Errors
    /// A rank cannot be reached, or the tensors differ in shape.
    fn sum_tensors(&self, tensors: &[Tensor]) -> Result<()>;

    /// Replaces each tensor's values by those of the first rank, in place.
    ///
    /// # Errors
    /// As [`Ranks::sum_tensors`].
    fn broadcast(&self, tensors: &[Tensor]) -> Result<()>;

    /// Whether all ranks succeeded, so that all go on or none does.
    ///
    /// # Errors
    /// A rank cannot be reached.
    fn all_succeeded(&self, succeeded: bool) -> Result<bool>;
}

/// One process alone: every sum is its own.
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
