//! Dropout by the bits of a random stream, and its gradient.
//! Not here: what it is for (`low_rank`).

use candle_core::{DType, Result};

use super::array::{Array, Output};
use super::launch::{Kernel, kernel, launch};
use super::philox::PhiloxStream;
use super::pieces::grid_of_pieces;

const DROPOUT: Kernel = kernel!("dropout", "dropout");

/// Which numbers of an array are dropped, and what the others are multiplied by.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Where the random bits come from: number i takes the half word i % 8 of the block at position i / 8, low ones first.
    pub stream: PhiloxStream,
    /// A number is dropped where its 16 bits are below this.
    pub dropped: u32,
    /// What the others are multiplied by.
    pub scale: f64,
}

impl Dropout {
    /// What is left of `x`, in its shape, rounded once.
    ///
    /// - `x`: bf16
    ///
    /// # Errors
    /// The dtype is another one.
    pub(super) fn of(&self, x: Array) -> Result<Output> {
        let out = Output::new(x.device(), x.shape(), DType::BF16)?;
        self.launch(x, &out, false)?;
        Ok(out)
    }

    /// Adds what is left of `x` to `sum`, rounded once.
    ///
    /// - `x`, `sum`: one shape, bf16
    ///
    /// # Errors
    /// Shapes or dtypes differ.
    pub(super) fn add_to(&self, sum: &Output, x: Array) -> Result<()> {
        self.launch(x, sum, true)
    }

    fn launch(&self, x: Array, out: &Output, adds: bool) -> Result<()> {
        let x = x.require("what dropout is given", DType::BF16, x.shape().dims())?;
        let out = out.array()?.require("what dropout gives", DType::BF16, x.shape().dims())?;
        let PhiloxStream { key, counter } = self.stream;
        let arguments = [
            x.into(),
            out.into(),
            x.shape().elem_count().into(),
            adds.into(),
            key[0].into(),
            key[1].into(),
            counter[0].into(),
            counter[1].into(),
            counter[2].into(),
            self.dropped.into(),
            self.scale.into(),
        ];
        // SAFETY: both arrays have as many numbers as the third argument says.
        unsafe { launch(x.device(), &DROPOUT, grid_of_pieces(&x), &arguments) }
    }
}
