//! A model parameter: its value and, where it is trained, the buffer its gradient is added to.
//! Not here: the optimiser's state (`optim`), names and files (`model`).
//!
//! On the CPU's path an operation adds a parameter's gradient straight into its buffer during the
//! backward pass (Megatron-LM's fused gradient accumulation, there for the weight of a linear layer).
//! The tape then holds activations alone: micro-batches add up in place, a frozen parameter costs
//! nothing, and a large weight's gradient exists once. The plain compositions go through candle's tape
//! instead; [`Parameter::collect`] moves what they leave in its `GradStore` into the same buffer, and
//! on a device other than the CPU adding to it makes a new one.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::matmul::{Matrix, Store, Threads, matmul};
use super::path::Path;
use super::real::{Real, slice_of, with_slice};

/// A named tensor of the model; clones share value and gradient.
#[derive(Debug, Clone)]
pub struct Parameter {
    name: Arc<str>,
    value: Tensor,
    gradient: Option<Arc<Mutex<Option<Tensor>>>>,
}

impl Parameter {
    /// A parameter that is never trained: no operation computes a gradient for it.
    pub fn frozen(name: &str, value: &Tensor) -> Self {
        Self { name: name.into(), value: value.detach(), gradient: None }
    }

    /// A parameter that is trained. The value is copied.
    ///
    /// # Errors
    /// The copy cannot be allocated.
    pub fn trainable(name: &str, value: &Tensor) -> Result<Self> {
        let value = Var::from_tensor(value)?.into_inner();
        Ok(Self { name: name.into(), value, gradient: Some(Arc::new(Mutex::new(None))) })
    }

    /// The same storage seen as frozen: what rollouts and evaluation run on. Follows every update.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self::frozen(&self.name, &self.value)
    }

    /// The hub's name of this tensor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value; a candle variable where the parameter is trained.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Whether the parameter is trained.
    pub fn is_trainable(&self) -> bool {
        self.gradient.is_some()
    }

    /// Takes the gradient gathered so far out of its buffer: the parameter's shape, f32 (f64 for an
    /// f64 parameter). `None` where nothing arrived.
    pub fn take_gradient(&self) -> Option<Tensor> {
        self.gradient.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds a gradient of the parameter's shape to the buffer; nothing happens where it is frozen.
    ///
    /// # Errors
    /// The shapes differ.
    pub fn accumulate(&self, gradient: &Tensor) -> Result<()> {
        let Some(buffer) = &self.gradient else { return Ok(()) };
        if gradient.dims() != self.value.dims() {
            let (name, expected, got) = (&self.name, self.value.dims(), gradient.dims());
            bail!("gradient of {name} has shape {got:?}, expected {expected:?}");
        }
        let dtype = if self.value.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let gradient = gradient.to_dtype(dtype)?.detach();
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        *buffer = match buffer.take() {
            None => Some(gradient),
            Some(sum) => Some(match Path::of(&sum) {
                Path::Cpu => {
                    sum.inplace_op2(&gradient.contiguous()?, &AddInPlace)?;
                    sum
                }
                Path::Plain => (sum + gradient)?,
            }),
        };
        Ok(())
    }

    /// The value's first axis, and all others together: how a linear map sees it.
    pub(super) fn matrix_dims(&self) -> Result<(usize, usize)> {
        let rows = self.value.dim(0)?;
        Ok((rows, self.value.elem_count() / rows.max(1)))
    }

    /// Adds `a^T b` to rows `first..first + m` of the buffer; `a` is `[rows, m]` and `b` `[rows, n]`, both
    /// dense, where the parameter has `n` elements per row.
    pub(super) fn accumulate_outer<R: Real>(
        &self,
        a: &[R],
        b: &[R],
        rows: usize,
        first: usize,
    ) -> Result<()> {
        let Some(buffer) = &self.gradient else { return Ok(()) };
        let (_, n) = self.matrix_dims()?;
        let m = a.len() / rows.max(1);
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = &*buffer {
            return sum.inplace_op1(&AddOuter { a, b, rows, m, n, first });
        }
        let mut sum = vec![R::ZERO; self.value.elem_count()];
        let part = &mut sum[first * n..(first + m) * n];
        let (a, b) = (Matrix::new(a, rows, m).t(), Matrix::new(b, rows, n));
        matmul((part, n), Store::Overwrite, R::ONE, a, b, Threads::All);
        *buffer = Some(Tensor::from_vec(sum, self.value.shape(), self.value.device())?);
        Ok(())
    }

    /// Adds `gradient[i]` to row `ids[i]` of the buffer of a `[rows, width]` parameter: the backward
    /// pass of looking rows up. Rows are added in the order of `ids`.
    ///
    /// - `ids`: `[n]` u32; `gradient`: `[n, width]`
    ///
    /// # Errors
    /// Shapes differ or an id is out of range.
    pub fn accumulate_rows(&self, ids: &Tensor, gradient: &Tensor) -> Result<()> {
        let Some(buffer) = &self.gradient else { return Ok(()) };
        let dtype = if self.value.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let gradient = gradient.to_dtype(dtype)?.detach().contiguous()?;
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match buffer.take() {
            Some(sum) => sum,
            None => self.value.zeros_like()?.to_dtype(dtype)?.detach(),
        };
        *buffer = Some(match Path::of(&sum) {
            Path::Cpu => {
                let ids = ids.to_vec1::<u32>()?;
                sum.inplace_op2(&gradient, &AddRows { ids: &ids })?;
                sum
            }
            Path::Plain => sum.index_add(ids, &gradient, 0)?,
        });
        Ok(())
    }

    /// Moves this parameter's gradient from a finished backward pass of candle into the buffer.
    ///
    /// # Errors
    /// The shapes differ.
    pub fn collect(&self, store: &mut GradStore) -> Result<()> {
        match store.remove(&self.value) {
            Some(gradient) if self.is_trainable() => self.accumulate(&gradient),
            _ => Ok(()),
        }
    }

    /// Calls `f` with the value's elements; the value must be dense on the CPU.
    pub(super) fn with_value<R: Real, O>(&self, f: impl FnOnce(&[R]) -> Result<O>) -> Result<O> {
        with_slice(&self.value, f)
    }
}

/// The elements of a contiguous storage that an in-place operation may change.
fn slice_mut<'a, R: Real>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [R]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a gradient buffer is not contiguous")
    };
    // candle hands out mutable slices per variant only.
    let data: &mut dyn std::any::Any = match storage {
        CpuStorage::F32(data) => data,
        CpuStorage::F64(data) => data,
        _ => bail!("a gradient buffer is neither f32 nor f64"),
    };
    match data.downcast_mut::<Vec<R>>() {
        Some(data) => Ok(&mut data[start..end]),
        None => bail!("a gradient buffer has another dtype than its parameter"),
    }
}

struct AddInPlace;

impl AddInPlace {
    fn run<R: Real>(dst: &mut [R], src: &[R]) {
        dst.par_chunks_mut(1 << 16).zip(src.par_chunks(1 << 16)).for_each(|(dst, src)| {
            for (d, s) in dst.iter_mut().zip(src) {
                *d += *s;
            }
        });
    }
}

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add_in_place"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<()> {
        match s2 {
            CpuStorage::F32(_) => Self::run::<f32>(slice_mut(s1, l1)?, slice_of(s2, l2)?),
            _ => Self::run::<f64>(slice_mut(s1, l1)?, slice_of(s2, l2)?),
        }
        Ok(())
    }
}

struct AddOuter<'a, R> {
    a: &'a [R],
    b: &'a [R],
    rows: usize,
    m: usize,
    n: usize,
    first: usize,
}

impl<R: Real> candle_core::InplaceOp1 for AddOuter<'_, R> {
    fn name(&self) -> &'static str {
        "add_outer"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let sum = slice_mut::<R>(storage, layout)?;
        let sum = &mut sum[self.first * self.n..(self.first + self.m) * self.n];
        let a = Matrix::new(self.a, self.rows, self.m).t();
        let b = Matrix::new(self.b, self.rows, self.n);
        matmul((sum, self.n), Store::Add, R::ONE, a, b, Threads::All);
        Ok(())
    }
}

struct AddRows<'a> {
    ids: &'a [u32],
}

impl AddRows<'_> {
    fn run<R: Real>(&self, sum: &mut [R], rows: &[R]) -> Result<()> {
        let width = if self.ids.is_empty() { return Ok(()) } else { rows.len() / self.ids.len() };
        for (&id, row) in self.ids.iter().zip(rows.chunks_exact(width)) {
            let start = id as usize * width;
            let Some(target) = sum.get_mut(start..start + width) else {
                bail!("row {id} is beyond the table");
            };
            for (t, r) in target.iter_mut().zip(row) {
                *t += *r;
            }
        }
        Ok(())
    }
}

impl InplaceOp2 for AddRows<'_> {
    fn name(&self) -> &'static str {
        "add_rows"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<()> {
        match s2 {
            CpuStorage::F32(_) => self.run::<f32>(slice_mut(s1, l1)?, slice_of(s2, l2)?),
            _ => self.run::<f64>(slice_mut(s1, l1)?, slice_of(s2, l2)?),
        }
    }
}
