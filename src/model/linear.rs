//! A linear map with its parameters: what every projection of the vision tower and the decoder goes through.
//! Not here: the product and its gradients (`ops`); the vocabulary head, which is scored against and shared
//! with the embedding table (`language`).

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::parameters::Parameters;
use crate::ops::{LinearParameters, Product, linear_part};

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

    /// As [`Self::load`], for an operation of several maps.
    ///
    /// # Errors
    /// There is no such weight.
    pub fn find(parameters: &Parameters, name: &str) -> Result<LinearParameters> {
        let weight = parameters.get(&format!("{name}.weight"))?;
        Ok(LinearParameters { weight, bias: parameters.find(&format!("{name}.bias")).cloned() })
    }

    /// The map of rows `[T, in]`: `[T, out]`, in the run's dtype.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn forward(&self, x: &Tensor, product: Product) -> Result<Tensor> {
        self.forward_part(x, 0..self.parameters.weight.value().dim(0)?, product)
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
        let LinearParameters { weight, bias } = &self.parameters;
        linear_part(x, weight, bias.as_ref(), outputs, product)
    }
}
