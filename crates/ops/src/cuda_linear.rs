//! A linear map on a GPU: the kernels of `othink_cuda`, given the model's parameters and the places of their gradients.
//! Not here: the operations on candle's tape that have such a map (`linear`, `cuda_mlp`); the products themselves.

use std::ops::Range;

use candle_core::Result;
use othink_cuda::{Array, LinearGradients, Output};

use super::gradients::Destination;
use super::linear::LinearParameters;

/// Some outputs of a linear map, or all.
pub(super) struct CudaLinear<'a> {
    parameters: &'a LinearParameters,
    /// The weight's rows that are used.
    outputs: Range<usize>,
}

impl<'a> CudaLinear<'a> {
    /// The outputs that these rows of the weight give.
    pub(super) fn part(parameters: &'a LinearParameters, outputs: Range<usize>) -> Self {
        Self { parameters, outputs }
    }

    /// All outputs.
    pub(super) fn of(parameters: &'a LinearParameters) -> Result<Self> {
        Ok(Self::part(parameters, 0..parameters.weight.value().dim(0)?))
    }

    /// `[T, outputs]` from `x [T, in]`, both bf16.
    pub(super) fn forward(&self, x: Array) -> Result<Output> {
        let LinearParameters { weight, bias, low_rank } = self.parameters;
        let bias = bias.as_ref().map(|bias| Array::of(bias.value())).transpose()?;
        let y = othink_cuda::linear(x, Array::of(weight.value())?, bias, self.outputs.clone())?;
        match low_rank {
            Some(low_rank) => low_rank.cuda_forward(x, self.outputs.clone(), y),
            None => Ok(y),
        }
    }

    /// The gradient to `x`, `[T, in]` bf16; those of trained parameters go to their buffers.
    pub(super) fn backward(&self, x: Array, grad: Array) -> Result<Output> {
        let sums = self.sums()?;
        let (weight, outputs) = (Array::of(self.parameters.weight.value())?, self.outputs.clone());
        let dx = othink_cuda::linear_backward(x, weight, grad, outputs, &sums.gradients()?)?;
        self.low_rank_backward(x, grad, dx)
    }

    /// [`Self::backward`], added to `dx`: the gradient to the same `x` of the maps before this one.
    pub(super) fn backward_added(&self, x: Array, grad: Array, dx: Output) -> Result<Output> {
        let sums = self.sums()?;
        let (weight, outputs) = (Array::of(self.parameters.weight.value())?, self.outputs.clone());
        let dx =
            othink_cuda::linear_backward_added(x, weight, grad, outputs, &sums.gradients()?, dx)?;
        self.low_rank_backward(x, grad, dx)
    }

    fn low_rank_backward(&self, x: Array, grad: Array, dx: Output) -> Result<Output> {
        match &self.parameters.low_rank {
            Some(low_rank) => low_rank.cuda_backward(x, grad, self.outputs.clone(), dx),
            None => Ok(dx),
        }
    }

    fn sums(&self) -> Result<Sums> {
        let LinearParameters { weight, bias, .. } = self.parameters;
        let bias = bias.as_ref().map(|bias| bias.destination(self.outputs.clone())).transpose()?;
        Ok(Sums { weight: weight.destination(self.outputs.clone())?, bias: bias.flatten() })
    }
}

/// Where the gradients of the map's parameters are added; `None` for what is frozen.
struct Sums {
    weight: Option<Destination>,
    bias: Option<Destination>,
}

impl Sums {
    fn gradients(&self) -> Result<LinearGradients<'_>> {
        Ok(LinearGradients {
            weight: self.weight.as_ref().map(Destination::target).transpose()?,
            bias: self.bias.as_ref().map(Destination::target).transpose()?,
        })
    }
}
