//! A linear map with its parameters: what every projection of the vision tower and the decoder goes through.
//! Not here: the product and its gradients (`ops`); the vocabulary head, which is scored against and shared
//! with the embedding table (`language`).

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::parameters::Parameters;
use crate::ops::{LinearParameters, Product, linear, linear_heads};

/// `x W^T + b`, with or without the bias.
#[derive(Debug, Clone)]
pub struct Linear {
    parameters: LinearParameters,
}

impl Linear {
    /// Takes `{name}.weight`, and `{name}.bias` where the model has one.
    ///
    /// # Errors
    /// There is no such weight.
    pub fn load(parameters: &Parameters, name: &str) -> Result<Self> {
        Ok(Self { parameters: Self::find(parameters, name)? })
    }

    /// What it is made of.
    #[cfg(feature = "cuda")]
    pub(super) fn parameters(&self) -> &LinearParameters {
        &self.parameters
    }

    /// As [`Self::load`], for an operation of several maps.
    ///
    /// # Errors
    /// There is no such weight.
    pub fn find(parameters: &Parameters, name: &str) -> Result<LinearParameters> {
        let weight = parameters.get(&format!("{name}.weight"))?;
        Ok(LinearParameters { weight, bias: parameters.find(&format!("{name}.bias")).cloned() })
    }

    /// The map of rows `[T, in]`, or `[T, ...]` with as many elements: `[T, out]`, in the run's dtype.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn forward(&self, x: &Tensor, product: Product) -> Result<Tensor> {
        let LinearParameters { weight, bias } = &self.parameters;
        linear(x, weight, bias.as_ref(), product)
    }

    /// The columns `outputs` of [`Self::forward`] alone, one of several maps stacked in one weight, as heads:
    /// `[T, outputs / head_dim, head_dim]`.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn part_as_heads(
        &self,
        x: &Tensor,
        (outputs, head_dim): (Range<usize>, usize),
        product: Product,
    ) -> Result<Tensor> {
        let LinearParameters { weight, bias } = &self.parameters;
        linear_heads(x, weight, bias.as_ref(), (outputs, head_dim), product)
    }

    /// [`Self::forward`] as heads.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn heads(&self, x: &Tensor, head_dim: usize, product: Product) -> Result<Tensor> {
        let outputs = self.parameters.weight.value().dim(0)?;
        self.part_as_heads(x, (0..outputs, head_dim), product)
    }
}
