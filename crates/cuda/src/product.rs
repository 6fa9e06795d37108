//! Matrix products by cuBLAS: factors of bf16, sums in f32, results in bf16 or f32.
//! Not here: which products an operation consists of; products with a bias (`product/bias`).

mod bias;

use std::ffi::c_void;
use std::ops::Range;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use candle_core::{CudaDevice, DType, Result, bail};

pub(crate) use bias::gemm_with_bias;

use super::array::Array;
use super::launch::Argument;

/// A matrix in memory, row after row.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    device: &'a CudaDevice,
    address: u64,
    dtype: DType,
    /// Rows and columns as stored.
    rows: usize,
    columns: usize,
    /// Numbers from the start of a row to that of the next.
    stride: usize,
    is_transposed: bool,
}

impl<'a> Matrix<'a> {
    /// An array's first axis as rows, all others together as columns.
    pub(crate) fn of(array: Array<'a>) -> Self {
        let (rows, columns) = match array.shape().dims() {
            [] => (1, 1),
            [rows, others @ ..] => (*rows, others.iter().product()),
        };
        let (device, address, dtype) = (array.device(), array.address(), array.dtype());
        Self { device, address, dtype, rows, columns, stride: columns, is_transposed: false }
    }

    /// Some of its rows, as stored.
    ///
    /// # Errors
    /// They are beyond its last.
    pub(crate) fn rows(self, rows: Range<usize>) -> Result<Self> {
        if rows.start > rows.end || rows.end > self.rows {
            bail!("rows {rows:?} of a matrix of {}", self.rows);
        }
        let skipped = rows.start * self.stride * self.dtype.size_in_bytes();
        Ok(Self { address: self.address + skipped as u64, rows: rows.len(), ..self })
    }

    /// The first numbers of every row, as stored.
    ///
    /// # Errors
    /// Rows are shorter.
    pub(crate) fn first_columns(self, columns: usize) -> Result<Self> {
        if columns > self.columns {
            bail!("{columns} columns of a matrix of {}", self.columns);
        }
        Ok(Self { columns, ..self })
    }

    /// The same memory as a matrix of twice as many bf16 as it has f32.
    pub(crate) fn as_bf16(self) -> Self {
        let (columns, stride) = (2 * self.columns, 2 * self.stride);
        Self { dtype: DType::BF16, columns, stride, ..self }
    }

    /// The transposed matrix, in the same memory.
    pub(crate) fn t(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }

    /// Numbers from the start of a row to that of the next.
    pub(crate) fn stride(self) -> usize {
        self.stride
    }

    /// Itself, where it holds these numbers in this shape.
    pub(crate) fn require(self, what: &str, dtype: DType, dims: (usize, usize)) -> Result<Self> {
        if self.dtype != dtype || self.dims() != dims {
            bail!(
                "{what} is {:?} in {:?}, expected {dims:?} in {dtype:?}",
                self.dims(),
                self.dtype
            );
        }
        Ok(self)
    }

    /// Rows and columns.
    pub(crate) fn dims(self) -> (usize, usize) {
        if self.is_transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    fn operation(self) -> sys::cublasOperation_t {
        if self.is_transposed {
            sys::cublasOperation_t::CUBLAS_OP_T
        } else {
            sys::cublasOperation_t::CUBLAS_OP_N
        }
    }

    fn number_type(self) -> Result<sys::cudaDataType> {
        match self.dtype {
            DType::BF16 => Ok(sys::cudaDataType::CUDA_R_16BF),
            DType::F32 => Ok(sys::cudaDataType::CUDA_R_32F),
            other => bail!("a matrix product of {other:?}"),
        }
    }
}

impl From<Matrix<'_>> for Argument {
    fn from(matrix: Matrix) -> Self {
        Self::Address(matrix.address)
    }
}

/// `out = alpha * a b + beta * out`, rounded once; what `out` holds is not read where `beta` is 0.
///
/// - `a`: `[m, k]` bf16; `b`: `[k, n]` bf16, `k` > 0; `out`: `[m, n]` bf16 or f32, not transposed
///
/// # Errors
/// Shapes or dtypes do not fit.
pub(crate) fn gemm(out: Matrix, beta: f32, alpha: f32, a: Matrix, b: Matrix) -> Result<()> {
    let [m, n, k] = sizes(out, a, b)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let blas = out.device.cublas_handle();
    out.device.cuda_stream().context().bind_to_thread().w()?;
    // cuBLAS stores matrices by columns: what is stored by rows is to it the transposed matrix, and out^T = b^T a^T.
    // SAFETY: every matrix lies within the array it was made of, which outlives this call; shapes are checked above; alpha
    // and beta are read before the call returns, as the handle takes them from the host.
    let status = unsafe {
        result::gemm_ex(
            *blas.handle(),
            b.operation(),
            a.operation(),
            n as i32,
            m as i32,
            k as i32,
            (&raw const alpha).cast(),
            b.address as *const c_void,
            b.number_type()?,
            b.stride as i32,
            a.address as *const c_void,
            a.number_type()?,
            a.stride as i32,
            (&raw const beta).cast(),
            out.address as *mut c_void,
            out.number_type()?,
            out.stride as i32,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    };
    status.w()
}

/// `m`, `n` and `k` of a product of bf16 `[m, k]` and `[k, n]` into `[m, n]`, not transposed; `k` > 0.
fn sizes(out: Matrix, a: Matrix, b: Matrix) -> Result<[usize; 3]> {
    let ((m, k), (inner, n)) = (a.dims(), b.dims());
    if (a.dtype, b.dtype) != (DType::BF16, DType::BF16) {
        bail!("a matrix product takes bf16, not {:?} and {:?}", a.dtype, b.dtype);
    }
    if k == 0 || k != inner || out.dims() != (m, n) || out.is_transposed {
        bail!("a matrix product of [{m}, {k}] and [{inner}, {n}] into {:?}", out.dims());
    }
    Ok([m, n, k])
}
