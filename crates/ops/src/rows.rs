//! Rows of a tensor, taken by their numbers or added to, with the gradient.
//! Not here: the gradient of an embedding table (`parameter`).

#[cfg(feature = "cuda")]
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Shape};
use candle_core::{Result, Tensor, bail};
#[cfg(feature = "cuda")]
use othink_cuda::Array;

use super::path::Path;

/// The rows `ids` of `x`, one below the other; a row may be taken several times.
///
/// - `x`: `[rows, width]` in the run's dtype; `ids`: `n` numbers of rows
/// - returns `[n, width]`. Gradient to `x`: a row's is the sum over its copies. In bf16 on a GPU they are added in their
///   order in f32 and rounded once.
///
/// # Errors
/// A row is out of range, or `x` has no two axes.
pub fn select_rows(x: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let (rows, _) = x.dims2()?;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
        bail!("select_rows: row {id} of {rows}");
    }
    match Path::of(x) {
        #[cfg(feature = "cuda")]
        Path::Cuda => x.contiguous()?.apply_op1(SelectRows { ids: ids.into() }),
        _ => x.index_select(&Tensor::new(ids, x.device())?, 0),
    }
}

/// `x` with `added[i]` added to row `rows[i]`.
///
/// - `x`: `[rows, width]`; `added`: `[n, width]`, of the same dtype; `rows`: `n` numbers of rows, each once
/// - returns `[rows, width]`. Gradients to `x` and `added`.
///
/// # Errors
/// Shapes do not fit, or a row is out of range.
pub fn add_to_rows(x: &Tensor, rows: &[u32], added: &Tensor) -> Result<Tensor> {
    let (n_rows, width) = x.dims2()?;
    if added.dims() != [rows.len(), width] || rows.iter().any(|&row| row as usize >= n_rows) {
        bail!("add_to_rows: {:?} to {} rows of {:?}", added.dims(), rows.len(), x.dims());
    }
    // A dense copy, because candle 0.11.1 applies the offset of a view to the new tensor as well on CUDA.
    let rows = Tensor::new(rows, x.device())?;
    x.force_contiguous()?.index_add(&rows, &added.contiguous()?, 0)
}

#[cfg(feature = "cuda")]
struct SelectRows {
    ids: Box<[u32]>,
}

#[cfg(feature = "cuda")]
impl CustomOp1 for SelectRows {
    fn name(&self) -> &'static str {
        "select_rows"
    }

    fn cpu_fwd(&self, _storage: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("select_rows: the CPU has candle's own operation")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let table = Array::of_storage(storage, layout)?;
        Ok(othink_cuda::select_rows(table, &self.ids)?.into_parts())
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let dx = othink_cuda::select_rows_backward(Array::of(&grad)?, &self.ids, x.dim(0)?)?;
        Ok(Some(dx.into_tensor()))
    }
}
