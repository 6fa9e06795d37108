//! Activations and their gradients, each number by itself.
//! Not here: the linear maps around them.

use candle_core::{DType, Result};

use super::array::{Array, Output};
use super::launch::{Kernel, kernel, launch};
use super::pieces::grid_of_pieces;

/// An activation of one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-1.702 x))`.
    QuickGelu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x Phi(x)`, `Phi` the normal distribution.
    GeluErf,
}

impl Activation {
    fn kernels(self) -> [Kernel; 2] {
        match self {
            Self::QuickGelu => [
                kernel!("activation", "quick_gelu_forward"),
                kernel!("activation", "quick_gelu_backward"),
            ],
            Self::GeluTanh => [
                kernel!("activation", "gelu_tanh_forward"),
                kernel!("activation", "gelu_tanh_backward"),
            ],
            Self::GeluErf => [
                kernel!("activation", "gelu_erf_forward"),
                kernel!("activation", "gelu_erf_backward"),
            ],
        }
    }
}

const SWIGLU: Kernel = kernel!("activation", "swiglu_forward");
const SWIGLU_BACKWARD: Kernel = kernel!("activation", "swiglu_backward");

/// The activation of every number.
///
/// - `x`: any shape, bf16; returns that shape, computed in f32 and rounded once
///
/// # Errors
/// The dtype is another.
pub fn activate(x: Array, activation: Activation) -> Result<Output> {
    let x = x.require("an activation's input", DType::BF16, x.shape().dims())?;
    let out = Output::new(x.device(), x.shape(), DType::BF16)?;
    let [forward, _] = activation.kernels();
    let arguments = [x.into(), out.array()?.into(), x.shape().elem_count().into()];
    // SAFETY: `x` and `out` have as many numbers as the last argument says.
    unsafe { launch(x.device(), &forward, grid_of_pieces(&x), &arguments)? };
    Ok(out)
}

/// The gradient of [`activate`] to `x`.
///
/// - `grad`: the shape of `x`, bf16
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn activate_backward(x: Array, grad: Array, activation: Activation) -> Result<Output> {
    let dims = x.shape().dims();
    let x = x.require("an activation's input", DType::BF16, dims)?;
    let grad = grad.require("an activation's gradient", DType::BF16, dims)?;
    let dx = Output::new(x.device(), x.shape(), DType::BF16)?;
    let [_, backward] = activation.kernels();
    let arguments = [x.into(), grad.into(), dx.array()?.into(), x.shape().elem_count().into()];
    // SAFETY: `x`, `grad` and `dx` have as many numbers as the last argument says.
    unsafe { launch(x.device(), &backward, grid_of_pieces(&x), &arguments)? };
    Ok(dx)
}

/// `silu(gate) * up`, `silu(x) = x / (1 + exp(-x))`.
///
/// - `gate`, `up`: one shape, bf16; returns that shape, computed in f32 and rounded once
///
/// # Errors
/// Shapes or dtypes differ.
pub fn swiglu(gate: Array, up: Array) -> Result<Output> {
    let dims = gate.shape().dims();
    let gate = gate.require("a gate", DType::BF16, dims)?;
    let up = up.require("what a gate multiplies", DType::BF16, dims)?;
    let out = Output::new(gate.device(), gate.shape(), DType::BF16)?;
    let n = gate.shape().elem_count();
    let arguments = [gate.into(), up.into(), out.array()?.into(), n.into()];
    // SAFETY: all three arrays have n numbers.
    unsafe { launch(gate.device(), &SWIGLU, grid_of_pieces(&gate), &arguments)? };
    Ok(out)
}

/// The gradients of [`swiglu`] to `gate` and to `up`.
///
/// - `grad`: the shape of `gate`, bf16
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn swiglu_backward(gate: Array, up: Array, grad: Array) -> Result<[Output; 2]> {
    let dims = gate.shape().dims();
    let gate = gate.require("a gate", DType::BF16, dims)?;
    let up = up.require("what a gate multiplies", DType::BF16, dims)?;
    let grad = grad.require("a gated product's gradient", DType::BF16, dims)?;
    let device = gate.device();
    let d_gate = Output::new(device, gate.shape(), DType::BF16)?;
    let d_up = Output::new(device, gate.shape(), DType::BF16)?;
    let arguments = [
        gate.into(),
        up.into(),
        grad.into(),
        d_gate.array()?.into(),
        d_up.array()?.into(),
        gate.shape().elem_count().into(),
    ];
    // SAFETY: all five arrays have as many numbers as the last argument says.
    unsafe { launch(device, &SWIGLU_BACKWARD, grid_of_pieces(&gate), &arguments)? };
    Ok([d_gate, d_up])
}
