//! A matrix product with a bias, by cublasLt: the bias is added to the sums in f32, before they are rounded. cuBLAS, given a
//! result that already holds the bias, rounds the product first.
//! Not here: products without a bias (`product`).

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda_backend::cudarc::cublaslt::sys;
use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::{DType, Error, Result};

use super::{Matrix, sizes};

/// Memory for a product while it runs: what cuBLAS takes for an H100. Fixed, so that the choice of an algorithm is.
const WORKSPACE_BYTES: usize = 32 << 20;

/// `out = a b + bias` in every row, summed in f32 and rounded once; where `n` is no multiple of 8, cublasLt may round the
/// product before as well.
///
/// - `a`: `[m, k]`; `b`: `[k, n]`, `k` > 0; `bias`: `[n, 1]`; `out`: `[m, n]`, not transposed; all bf16
///
/// # Errors
/// Shapes or dtypes do not fit, or cublasLt has no algorithm for them.
pub(crate) fn gemm_with_bias(out: Matrix, a: Matrix, b: Matrix, bias: Matrix) -> Result<()> {
    let [m, n, _] = sizes(out, a, b)?;
    let (out, bias) = (
        out.require("a product", DType::BF16, (m, n))?,
        bias.require("a bias", DType::BF16, (n, 1))?,
    );
    if m == 0 || n == 0 {
        return Ok(());
    }
    let stream = out.device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // SAFETY: only the product uses it, and it is freed on the product's stream, behind it.
    let workspace = unsafe { out.device.alloc::<u8>(WORKSPACE_BYTES)? };
    let (workspace, _recorded) = workspace.device_ptr(&stream);
    // A cuBLAS handle is one of cublasLt's too (cuBLAS documentation, cublasLtHandle_t).
    let handle: sys::cublasLtHandle_t = (*out.device.cublas_handle().handle()).cast();
    // As in `gemm`, matrices are transposed to cuBLAS: out^T = b^T a^T, and the bias is a column there.
    let run = || -> std::result::Result<(), CublasError> {
        let operation = Operation::new(a, b, bias)?;
        let [first, second, result] = [Layout::new(b)?, Layout::new(a)?, Layout::new(out)?];
        let preference = Preference::new([b, a, out], bias)?;
        let (alpha, beta) = (1.0f32, 0.0f32);
        // SAFETY: the handle lives as long as the device, and the descriptors to the end of this function; every matrix lies
        // within the array it was made of, which outlives this call; shapes are checked above; alpha and beta are read before
        // the call returns; the stream is that of all work on these arrays.
        unsafe {
            let algorithm = result::get_matmul_algo_heuristic(
                handle,
                operation.0,
                first.0,
                second.0,
                result.0,
                result.0,
                preference.0,
            )?;
            result::matmul(
                handle,
                operation.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                b.address as *const c_void,
                first.0,
                a.address as *const c_void,
                second.0,
                out.address as *const c_void,
                result.0,
                out.address as *mut c_void,
                result.0,
                &raw const algorithm.algo,
                workspace as *mut c_void,
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        }
    };
    run().map_err(|error| {
        Error::Cuda(Box::new(error)).context(format!(
            "a product of {:?} and {:?}",
            a.dims(),
            b.dims()
        ))
    })
}

/// What is computed: cublasLt's description of it, freed at the end.
struct Operation(sys::cublasLtMatmulDesc_t);

impl Operation {
    fn new(a: Matrix, b: Matrix, bias: Matrix) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let operation = Self(result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?);
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(b.is_transposed))?;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(a.is_transposed))?;
        let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.address)?;
        Ok(operation)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: &T,
    ) -> std::result::Result<(), CublasError> {
        let from = std::ptr::from_ref(value).cast();
        // SAFETY: the description is freed with `self`; the value, of as many bytes, is copied before the call returns.
        unsafe { result::set_matmul_desc_attribute(self.0, attribute, from, size_of::<T>()) }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: nothing else frees it. An error would mean that it does not exist, which harms nothing.
        unsafe { result::destroy_matmul_desc(self.0) }.ok();
    }
}

/// Where a matrix's numbers are, freed at the end.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(matrix: Matrix) -> std::result::Result<Self, CublasError> {
        let (rows, columns) = (matrix.columns as u64, matrix.rows as u64);
        let number_type = sys::cudaDataType::CUDA_R_16BF;
        result::create_matrix_layout(number_type, rows, columns, matrix.stride as i64).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: nothing else frees it. As above.
        unsafe { result::destroy_matrix_layout(self.0) }.ok();
    }
}

/// What an algorithm may assume and use, freed at the end.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    /// For these factors and result; the algorithms add up in f32 alone, and read as many bytes at once as addresses allow.
    fn new(matrices: [Matrix; 3], bias: Matrix) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = Self(result::create_matmul_pref()?);
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
        let scheme = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &(scheme as u32))?;
        let [first, second, result] = matrices.map(|matrix| alignment(matrix.address));
        let result = result.min(alignment(bias.address));
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &first)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &second)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &result)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &result)?;
        Ok(preference)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> std::result::Result<(), CublasError> {
        let from = std::ptr::from_ref(value).cast();
        // SAFETY: the preference is freed with `self`; the value, of as many bytes, is copied before the call returns.
        unsafe { result::set_matmul_pref_attribute(self.0, attribute, from, size_of::<T>()) }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: nothing else frees it. As above.
        unsafe { result::destroy_matmul_pref(self.0) }.ok();
    }
}

/// The largest power of two that divides an address, up to what cublasLt assumes of one at most.
fn alignment(address: u64) -> u32 {
    const MOST: u32 = 256;
    1 << address.trailing_zeros().min(MOST.trailing_zeros())
}
