//! Where gradients are accumulated: those of all trained parameters are in one flat tensor, in a fixed order, so that it
//! can be summed over processes in one piece.
//! Not here: which operation adds what (`parameter`, `linear`, ...), the optimiser that reads them (`optim`).

use std::cell::Cell;
use std::marker::PhantomData;

use candle_core::{
    CpuStorage, DType, Device, InplaceOp1, InplaceOp2, Layout, Result, Shape, Tensor, bail,
};
#[cfg(feature = "cuda")]
use othink_cuda::Array;
use rayon::prelude::*;

use super::matmul::{Matrix, Store, Threads, matmul};
use super::path::Path;
use super::real::{Real, slice_of};

/// Room for the gradients of several parameters, one after the other.
#[derive(Debug, Clone)]
pub struct GradientArena {
    /// `[n]`, f32, f64 or bf16.
    numbers: Tensor,
}

impl GradientArena {
    /// Room for `n` numbers.
    ///
    /// - `dtype`: bf16 for parameters in bf16 alone: a sum is then rounded each time that something is added; else that of
    ///   [`GradientArena::usual_dtype`]
    ///
    /// # Errors
    /// It cannot be allocated.
    pub fn new(n: usize, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self { numbers: Tensor::zeros(n, dtype, device)? })
    }

    /// What gradients of parameters of this type are in, if nothing else is asked for: f64 for f64, f32 for all others.
    pub fn usual_dtype(parameters: DType) -> DType {
        if parameters == DType::F64 { DType::F64 } else { DType::F32 }
    }

    /// All gradients, `[n]`: the storage that the parameters' buffers are views of.
    pub fn numbers(&self) -> &Tensor {
        &self.numbers
    }

    /// Calls `f` with a flat tensor of as many numbers of `dtype` as there are gradients, in their memory: for a GPU alone. Nothing reads
    /// or writes gradients before `f` returns.
    ///
    /// # Errors
    /// Those numbers are wider than the gradients, or of a type that no parameter has.
    #[cfg(feature = "cuda")]
    pub fn lend<T>(&self, dtype: DType, f: impl FnOnce(&Tensor) -> T) -> Result<T> {
        othink_cuda::with_lent(&self.numbers, (self.numbers.elem_count(), dtype), f)
    }

    /// The buffer of a parameter of this shape, from element `start` on.
    pub(super) fn buffer(&self, start: usize, shape: &Shape) -> Result<GradientBuffer> {
        let sum = self.numbers.narrow(0, start, shape.elem_count())?.reshape(shape)?;
        Ok(GradientBuffer { sum, has_arrived: false })
    }
}

/// The buffer of one parameter's gradient.
#[derive(Debug)]
pub(super) struct GradientBuffer {
    /// The parameter's shape; a view of the arena.
    sum: Tensor,
    /// Whether `sum` holds a gradient; otherwise its contents are of an earlier update, or what they were lent for ([`Self::lend`]).
    has_arrived: bool,
}

/// The product `a^T b`, which is added to some rows of a gradient.
#[derive(Clone, Copy)]
pub(super) struct Outer<'a, R> {
    /// `[rows, m]`, dense.
    pub(super) a: &'a [R],
    /// `[rows, n]`, dense.
    pub(super) b: &'a [R],
    pub(super) rows: usize,
    pub(super) m: usize,
    /// Numbers in a row of the gradient.
    pub(super) n: usize,
    /// The first of the gradient's `m` rows that the product is added to.
    pub(super) first: usize,
}

/// Rows of a gradient that a kernel on the GPU adds to, or overwrites where nothing has arrived yet.
#[cfg(feature = "cuda")]
pub(super) struct Destination {
    rows: Tensor,
    add: bool,
}

#[cfg(feature = "cuda")]
impl Destination {
    pub(super) fn target(&self) -> Result<othink_cuda::Target<'_>> {
        othink_cuda::Target::of(&self.rows, self.add)
    }
}

impl GradientBuffer {
    /// What changes the buffer; on a GPU kernels do, also in f32.
    fn path(&self) -> Path {
        match (self.sum.device(), self.sum.dtype()) {
            #[cfg(feature = "cuda")]
            (Device::Cuda(_), DType::F32) => Path::Cuda,
            _ => Path::of(&self.sum),
        }
    }

    /// Some rows of the gradient, for a kernel that is about to write to all of them.
    #[cfg(feature = "cuda")]
    pub(super) fn destination(&mut self, rows: std::ops::Range<usize>) -> Result<Destination> {
        if rows.len() < self.sum.dim(0)? {
            self.fill_with_zeros()?;
        }
        let rows = self.sum.narrow(0, rows.start, rows.len())?;
        Ok(Destination { rows, add: std::mem::replace(&mut self.has_arrived, true) })
    }

    /// The whole gradient, for a kernel that is about to write to all of it.
    #[cfg(feature = "cuda")]
    fn whole(&mut self) -> Destination {
        Destination { rows: self.sum.clone(), add: std::mem::replace(&mut self.has_arrived, true) }
    }

    /// A gradient as kernels add it: bf16 as it is, all else in f32.
    #[cfg(feature = "cuda")]
    fn addend(gradient: &Tensor) -> Result<Tensor> {
        let dtype = if gradient.dtype() == DType::BF16 { DType::BF16 } else { DType::F32 };
        gradient.detach().to_dtype(dtype)?.contiguous()
    }

    /// The accumulated gradient, as a view; `None` where there is none.
    pub(super) fn gathered(&self) -> Option<Tensor> {
        self.has_arrived.then(|| self.sum.clone())
    }

    pub(super) fn clear(&mut self) {
        self.has_arrived = false;
    }

    /// Sets the gradient to zeros where there is none.
    pub(super) fn fill_with_zeros(&mut self) -> Result<()> {
        if self.has_arrived {
            return Ok(());
        }
        match self.path() {
            Path::Cpu => self.sum.inplace_op1(&Zero)?,
            #[cfg(feature = "cuda")]
            Path::Cuda => othink_cuda::fill_with_zeros(Array::of(&self.sum)?)?,
            Path::Plain => self.set(&self.sum.zeros_like()?)?,
        }
        self.has_arrived = true;
        Ok(())
    }

    /// Adds a gradient of the same shape.
    pub(super) fn add(&mut self, gradient: &Tensor) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.path() == Path::Cuda {
            let gradient = Self::addend(gradient)?;
            return othink_cuda::accumulate(Array::of(&gradient)?, self.whole().target()?);
        }
        let gradient = gradient.detach().to_dtype(self.sum.dtype())?.contiguous()?;
        match (self.path(), self.has_arrived) {
            (_, false) => self.set(&gradient)?,
            (Path::Cpu, true) => self.sum.inplace_op2(&gradient, &AddInPlace)?,
            (_, true) => self.set(&(&self.sum + &gradient)?)?,
        }
        self.has_arrived = true;
        Ok(())
    }

    /// Adds a product; for buffers on the CPU path only.
    pub(super) fn add_outer<R: Real>(&mut self, outer: Outer<R>) -> Result<()> {
        let Outer { a, b, rows, m, n, first } = outer;
        self.change(|sum: &mut [R], store| {
            if store == Store::Overwrite && m * n < sum.len() {
                sum.fill(R::ZERO);
            }
            let sum = &mut sum[first * n..(first + m) * n];
            let (a, b) = (Matrix::new(a, rows, m).t(), Matrix::new(b, rows, n));
            matmul((sum, n), store, R::ONE, a, b, Threads::All);
        })
    }

    /// Calls `f` with all numbers, and with whether it is to add to them or to overwrite them, all of them; for buffers on the CPU
    /// path only.
    pub(super) fn change<R: Real>(&mut self, f: impl FnOnce(&mut [R], Store)) -> Result<()> {
        let store = if self.has_arrived { Store::Add } else { Store::Overwrite };
        self.with_numbers(|sum| f(sum, store))?;
        self.has_arrived = true;
        Ok(())
    }

    /// Calls `f` with the memory of a gradient that has not arrived, and returns a view of it: other values of the parameter,
    /// until the gradient overwrites them; for buffers on the CPU path only.
    pub(super) fn lend<R: Real>(&mut self, f: impl FnOnce(&mut [R])) -> Result<Tensor> {
        if self.has_arrived {
            bail!("the memory of a gradient is to be lent while the gradient is in it");
        }
        self.with_numbers(f)?;
        Ok(self.sum.clone())
    }

    /// The part of `all` that belongs to the parameter: a view, of the parameter's shape.
    ///
    /// - `all`: a number for each one of the arena's, in memory that may be the arena's
    pub(super) fn own_part(&self, all: &Tensor) -> Result<Tensor> {
        if self.has_arrived {
            bail!("the memory of a gradient is to be lent while the gradient is in it");
        }
        let (start, shape) = (self.sum.layout().start_offset(), self.sum.shape());
        all.narrow(0, start, shape.elem_count())?.reshape(shape)
    }

    fn with_numbers<R: Real>(&self, f: impl FnOnce(&mut [R])) -> Result<()> {
        self.sum.inplace_op1(&Change { f: Cell::new(Some(f)), numbers: PhantomData })
    }

    /// Adds `gradient[i]` to row `ids[i]`, in the order of `ids`.
    pub(super) fn add_rows(&mut self, ids: &[u32], gradient: &Tensor) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.path() == Path::Cuda {
            let gradient = Self::addend(gradient)?;
            return othink_cuda::accumulate_rows(
                Array::of(&gradient)?,
                ids,
                self.whole().target()?,
            );
        }
        let gradient = gradient.detach().to_dtype(self.sum.dtype())?.contiguous()?;
        self.fill_with_zeros()?;
        if self.path() == Path::Cpu {
            return self.sum.inplace_op2(&gradient, &AddRows { ids });
        }
        let ids = Tensor::new(ids, self.sum.device())?;
        // A copy, because candle 0.11.1 applies the offset of a view to the new tensor as well on CUDA, and
        // the buffer is a view into the arena of all gradients.
        self.set(&self.sum.force_contiguous()?.index_add(&ids, &gradient, 0)?)
    }

    /// Overwrites the buffer; flattened, because a scalar has no dimension to write along.
    fn set(&self, gradient: &Tensor) -> Result<()> {
        self.sum.flatten_all()?.slice_set(&gradient.flatten_all()?, 0, 0)
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

/// What a closure does to the numbers, once.
struct Change<R, F> {
    f: Cell<Option<F>>,
    numbers: PhantomData<R>,
}

impl<R: Real, F: FnOnce(&mut [R])> InplaceOp1 for Change<R, F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let numbers = slice_mut::<R>(storage, layout)?;
        if let Some(f) = self.f.take() {
            f(numbers);
        }
        Ok(())
    }
}

/// Overwrites with zeros.
struct Zero;

impl InplaceOp1 for Zero {
    fn name(&self) -> &'static str {
        "zero"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match storage {
            CpuStorage::F32(_) => slice_mut::<f32>(storage, layout)?.fill(0.0),
            _ => slice_mut::<f64>(storage, layout)?.fill(0.0),
        }
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
