//! A model parameter: its value and, where it is trained, the buffer its gradient is added to.
//! Not here: the optimiser's state (`optim`), names and files (`model`).
//!
//! On the CPU's path an operation adds a parameter's gradient straight into its buffer during the
//! backward pass (Megatron-LM's fused gradient accumulation, there for the weight of a linear layer).
//! The tape then holds activations alone: micro-batches add up in place, a frozen parameter costs
//! nothing, and a large weight's gradient exists once. The plain compositions go through candle's tape
//! instead; [`Parameter::collect`] moves what they leave in its `GradStore` into the same buffer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};

#[cfg(feature = "cuda")]
use super::gradients::Destination;
use super::gradients::{GradientArena, GradientBuffer, Outer};
use super::matmul::Store;
use super::real::{Real, with_slice};

/// A named tensor of the model; clones share value and gradient.
#[derive(Debug, Clone)]
pub struct Parameter {
    name: Arc<str>,
    value: Tensor,
    gradient: Option<Arc<Mutex<GradientBuffer>>>,
}

impl Parameter {
    /// A parameter that is never trained: no operation computes a gradient for it.
    pub fn frozen(name: &str, value: &Tensor) -> Self {
        Self { name: name.into(), value: value.detach(), gradient: None }
    }

    /// A parameter that is trained, with a gradient buffer of its own. The value is copied.
    ///
    /// # Errors
    /// The copy or the buffer cannot be allocated.
    pub fn trainable(name: &str, value: &Tensor) -> Result<Self> {
        let dtype = GradientArena::usual_dtype(value.dtype());
        let arena = GradientArena::new(value.elem_count(), dtype, value.device())?;
        Self::trainable_in(name, value, &arena, 0)
    }

    /// A parameter that is trained, whose gradient is in `arena` from element `start` on. The value is copied.
    ///
    /// # Errors
    /// The copy cannot be allocated, or the arena ends before the gradient does.
    pub fn trainable_in(
        name: &str,
        value: &Tensor,
        arena: &GradientArena,
        start: usize,
    ) -> Result<Self> {
        let value = Var::from_tensor(value)?.into_inner();
        let buffer = arena.buffer(start, value.shape())?;
        Ok(Self { name: name.into(), value, gradient: Some(Arc::new(Mutex::new(buffer))) })
    }

    /// The same storage as a frozen parameter, for rollouts and evaluation. Every update changes it too.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self::frozen(&self.name, &self.value)
    }

    /// A frozen parameter of this name and shape with the values that `write` writes, all of them, in the memory of this
    /// parameter's gradient: until a gradient is added, which overwrites them. For trained f32 parameters on the CPU.
    ///
    /// # Errors
    /// There is a gradient, or the parameter is frozen or another.
    pub fn in_memory_of_gradient(&self, write: impl FnOnce(&mut [f32])) -> Result<Self> {
        let Some(mut buffer) = self.buffer() else {
            bail!("{} is not trained: there is no memory of its gradient", self.name);
        };
        Ok(Self::frozen(&self.name, &buffer.lend(write)?))
    }

    /// A frozen parameter of this name and shape with values that are part of a flat tensor, at the place that this parameter's gradient
    /// has among all gradients. It shares the tensor's storage.
    ///
    /// - `all`: as many numbers as there are gradients; they may be in the memory of the gradients (`GradientArena::lend`)
    ///
    /// # Errors
    /// There is a gradient, or the parameter is frozen or another.
    pub fn with_values_among(&self, all: &Tensor) -> Result<Self> {
        let Some(buffer) = self.buffer() else {
            bail!("{} is not trained: it has no place among the gradients", self.name);
        };
        Ok(Self::frozen(&self.name, &buffer.own_part(all)?))
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

    /// The accumulated gradient: the parameter's shape, in the type of its arena, usually f32. A view of the buffer, which later
    /// gradients change. `None` where there is none.
    pub fn gradient(&self) -> Option<Tensor> {
        self.buffer()?.gathered()
    }

    /// Clears the accumulated gradient.
    pub fn clear_gradient(&self) {
        if let Some(mut buffer) = self.buffer() {
            buffer.clear();
        }
    }

    /// A copy of the accumulated gradient, which is cleared.
    ///
    /// # Errors
    /// The copy cannot be allocated.
    pub fn take_gradient(&self) -> Result<Option<Tensor>> {
        // Of this part of the arena alone, where `copy` would copy all of it.
        let gradient = self.gradient().map(|gradient| gradient.force_contiguous()).transpose();
        self.clear_gradient();
        gradient
    }

    /// Fills the buffer with zeros where there is no gradient.
    ///
    /// # Errors
    /// The device fails.
    pub fn complete_gradient(&self) -> Result<()> {
        self.buffer().map_or(Ok(()), |mut buffer| buffer.fill_with_zeros())
    }

    /// Adds a gradient of the parameter's shape to the buffer; nothing happens where it is frozen.
    ///
    /// # Errors
    /// The shapes differ.
    pub fn accumulate(&self, gradient: &Tensor) -> Result<()> {
        let Some(mut buffer) = self.buffer() else { return Ok(()) };
        if gradient.dims() != self.value.dims() {
            let (name, expected, got) = (&self.name, self.value.dims(), gradient.dims());
            bail!("gradient of {name} has shape {got:?}, expected {expected:?}");
        }
        buffer.add(gradient)
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
        let Some(mut buffer) = self.buffer() else { return Ok(()) };
        let (_, n) = self.matrix_dims()?;
        let m = a.len() / rows.max(1);
        buffer.add_outer(Outer { a, b, rows, m, n, first })
    }

    /// Calls `f` with the buffer's numbers, and with whether it is to add to them or to overwrite all of them; with nothing where the
    /// parameter is frozen. For the CPU's path.
    pub(super) fn with_gradient<R: Real>(
        &self,
        f: impl FnOnce(Option<(&mut [R], Store)>),
    ) -> Result<()> {
        if let Some(mut buffer) = self.buffer() {
            return buffer.change(|numbers, store| f(Some((numbers, store))));
        }
        f(None);
        Ok(())
    }

    /// Rows of the buffer, for a kernel on the GPU that is about to write to all of them; `None` where the parameter is
    /// frozen.
    #[cfg(feature = "cuda")]
    pub(super) fn destination(&self, rows: std::ops::Range<usize>) -> Result<Option<Destination>> {
        self.buffer().map(|mut buffer| buffer.destination(rows)).transpose()
    }

    /// Adds `gradient[i]` to row `ids[i]` of the buffer of a `[rows, width]` parameter: the backward
    /// pass of looking rows up. Rows are added in the order of `ids`.
    ///
    /// - `ids`: `n` rows; `gradient`: `[n, width]`
    ///
    /// # Errors
    /// Shapes differ or an id is out of range.
    pub fn accumulate_rows(&self, ids: &[u32], gradient: &Tensor) -> Result<()> {
        let Some(mut buffer) = self.buffer() else { return Ok(()) };
        let (name, (rows, width)) = (&self.name, self.matrix_dims()?);
        if gradient.dims() != [ids.len(), width] {
            let (n, got) = (ids.len(), gradient.dims());
            bail!("gradient of {n} rows of {name} has shape {got:?}, expected {:?}", [n, width]);
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
            bail!("row {id} is beyond {name}, which has {rows}");
        }
        if ids.is_empty() {
            return buffer.fill_with_zeros();
        }
        buffer.add_rows(ids, gradient)
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

    fn buffer(&self) -> Option<MutexGuard<'_, GradientBuffer>> {
        Some(self.gradient.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn memory_of_a_gradient_is_lent_while_none_is_in_it_and_the_next_gradient_overwrites_it() {
        let arena = GradientArena::new(5, DType::F32, &Device::Cpu).unwrap();
        let value = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap();
        let parameter = Parameter::trainable_in("w", &value, &arena, 2).unwrap();
        let write = |values: &mut [f32]| values.copy_from_slice(&[4.0, 5.0, 6.0]);
        let other = parameter.in_memory_of_gradient(write).unwrap();
        assert_eq!((other.name(), other.is_trainable()), ("w", false));
        assert_eq!(other.value().to_vec1::<f32>().unwrap(), [4.0, 5.0, 6.0]);
        assert_eq!(arena.numbers().to_vec1::<f32>().unwrap(), [0.0, 0.0, 4.0, 5.0, 6.0]);
        assert_eq!(parameter.value().to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0]);
        assert!(parameter.gradient().is_none());

        parameter.accumulate(&value).unwrap();
        assert_eq!(parameter.gradient().unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0]);
        let error = parameter.in_memory_of_gradient(|_| panic!("nothing is lent")).unwrap_err();
        assert!(error.to_string().contains("while the gradient is in it"), "{error}");
        let error = other.in_memory_of_gradient(|_| panic!("nothing is lent")).unwrap_err();
        assert!(error.to_string().contains("w is not trained"), "{error}");
    }
}
