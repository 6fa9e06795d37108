//! The number types that a model is kept in.
//! Not here: which of them a run asks for (`train::settings`), what `auto` is on a device (`device`).

use candle_core::DType;

use crate::ops::GradientArena;

/// What the numbers of a model are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision {
    /// Its parameters.
    pub weights: DType,
    /// The sums of their gradients, where any are trained.
    pub gradients: DType,
}

/// Parameters of this type, with gradients that are added up in f32, or in f64 where the parameters are.
impl From<DType> for Precision {
    fn from(weights: DType) -> Self {
        Self { weights, gradients: GradientArena::usual_dtype(weights) }
    }
}
