//! A linear map with its parameters: what every projection of the vision tower and the decoder goes through.
//! Not here: the product and its gradients (`ops`); the vocabulary head, which is scored against and shared
//! with the embedding table (`language`).

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::parameters::Parameters;
use crate::ops::{Parameter, Product, linear_part};

/// `x W^T + b`, with or without the bias.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`, or `[out, ...]` with `in` elements per row.
    weight: Parameter,
    /// `[out]`
    bias: Option<Parameter>,
}

impl Linear {
    /// Takes `{name}.weight`, and `{name}.bias` where the model has one.
    ///
    /// # Errors
    /// There is no such weight.
    pub fn load(parameters: &Parameters, name: &str) -> Result<Self> {
        let weight = parameters.get(&format!("{name}.weight"))?;
        Ok(Self { weight, bias: parameters.find(&format!("{name}.bias")).cloned() })
    }

    /// The map of rows `[T, in]`: `[T, out]`, in the run's dtype.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn forward(&self, x: &Tensor, product: Product) -> Result<Tensor> {
        self.forward_part(x, 0..self.weight.value().dim(0)?, product)
    }

    /// The columns `outputs` of [`Self::forward`] alone: one of several maps stacked in one weight.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn forward_part(
        &self,
        x: &Tensor,
        outputs: Range<usize>,
        product: Product,
    ) -> Result<Tensor> {
        linear_part(x, &self.weight, self.bias.as_ref(), outputs, product)
    }
}
