//! A half of a layer on the CPU as one operation on candle's tape: its only edge is its input, so that inside nothing is filled with
//! zeros and added to by one thread, as the tape does for every edge, and what is cheap to compute again is not kept.
//! Not here: the halves themselves (`cpu_attention`, `cpu_mlp`); the same on a GPU (`cuda_tape`).

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::add::{Add, add};
use super::norm::NormParameters;

/// A map of rows in f32 or f64.
pub(super) trait Map: Send + Sync + 'static {
    /// What its backward pass needs besides its input.
    type Kept: Send + Sync;

    /// How it is called in errors.
    fn name(&self) -> &'static str;

    /// - `h`: `[T, in]`, which nothing tracks; returns `[T, out]`, and what to keep
    fn forward(&self, h: &Tensor) -> Result<(Tensor, Self::Kept)>;

    /// The gradient to `h`; those of trained parameters go to their buffers.
    fn backward(&self, h: &Tensor, kept: &Self::Kept, grad: &Tensor) -> Result<Tensor>;
}

/// `x + map(norm(x))`, for an `x` that is tracked. The norm's output is computed again for the backward pass.
///
/// # Errors
/// The map's own, and those of a norm.
pub(super) fn residual<M: Map>(x: &Tensor, norm: &NormParameters, map: M) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (y, kept) = map.forward(&norm.apply(&x.detach())?)?;
    let y = Mutex::new(Some(y));
    x.apply_op1(Residual { norm: norm.clone(), map, kept, y })
}

struct Residual<M: Map> {
    norm: NormParameters,
    map: M,
    kept: M::Kept,
    /// The map's output, until it is added.
    y: Mutex<Option<Tensor>>,
}

impl<M: Map> CustomOp1 for Residual<M> {
    fn name(&self) -> &'static str {
        self.map.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.y.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(y) => Add::to_storage(x, layout, &y),
            None => bail!("{}: a second forward pass", self.name()),
        }
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (x, grad) = (x.detach(), grad.contiguous()?);
        let dh = self.map.backward(&self.norm.apply(&x)?, &self.kept, &grad)?;
        add(&self.norm.backward(&x, &dh)?, &grad).map(Some)
    }
}
