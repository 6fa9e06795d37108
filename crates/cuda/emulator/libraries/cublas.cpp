// libcublas: handles, and the products that candle and cudarc call. Not here: the product itself (gemm.cpp).
#include "driver/result.h"
#include "libraries/gemm.h"

namespace blas {
namespace {

struct Handle {
  void* stream = nullptr;
};

void* stream_of(void* handle) { return static_cast<Handle*>(handle)->stream; }

Matrix matrix(const void* at, int type, bool is_transposed, int64_t leading, int64_t stride) {
  return {at, DataType(type), is_transposed, leading, stride};
}

}  // namespace

CUDA_API int cublasCreate_v2(void** handle) {
  *handle = new Handle;
  return OK;
}

CUDA_API int cublasDestroy_v2(void* handle) {
  delete static_cast<Handle*>(handle);
  return OK;
}

CUDA_API int cublasSetStream_v2(void* handle, void* stream) {
  static_cast<Handle*>(handle)->stream = stream;
  return OK;
}

CUDA_API int cublasSetMathMode(void*, int) { return OK; }
CUDA_API int cublasSetPointerMode_v2(void*, int mode) { return mode == 0 ? OK : NOT_SUPPORTED; }  // numbers on the host
CUDA_API int cublasSetWorkspace_v2(void*, void*, size_t) { return OK; }

CUDA_API int cublasGetVersion_v2(void*, int* version) {
  *version = 130000;
  return OK;
}

CUDA_API int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                                        int a_type, int lda, long long stride_a, const void* b, int b_type, int ldb,
                                        long long stride_b, const void* beta, void* c, int c_type, int ldc, long long stride_c,
                                        int batch, int compute, int) {
  return multiply({stream_of(handle), m, n, k, batch, ComputeType(compute), alpha, beta,
                   matrix(a, a_type, ta != 0, lda, stride_a), matrix(b, b_type, tb != 0, ldb, stride_b),
                   matrix(c, c_type, false, ldc, stride_c)});
}

CUDA_API int cublasGemmEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type,
                          int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc,
                          int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0, beta, c, c_type,
                                    ldc, 0, 1, compute, algorithm);
}

CUDA_API int cublasSgemmStridedBatched(void* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* a,
                                       int lda, long long stride_a, const float* b, int ldb, long long stride_b,
                                       const float* beta, float* c, int ldc, long long stride_c, int batch) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, R_32F, lda, stride_a, b, R_32F, ldb, stride_b, beta, c,
                                    R_32F, ldc, stride_c, batch, C_32F, 0);
}

CUDA_API int cublasDgemmStridedBatched(void* handle, int ta, int tb, int m, int n, int k, const double* alpha, const double* a,
                                       int lda, long long stride_a, const double* b, int ldb, long long stride_b,
                                       const double* beta, double* c, int ldc, long long stride_c, int batch) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, R_64F, lda, stride_a, b, R_64F, ldb, stride_b, beta, c,
                                    R_64F, ldc, stride_c, batch, C_64F, 0);
}

CUDA_API int cublasSgemm_v2(void* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda,
                            const float* b, int ldb, const float* beta, float* c, int ldc) {
  return cublasSgemmStridedBatched(handle, ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}

CUDA_API int cublasDgemm_v2(void* handle, int ta, int tb, int m, int n, int k, const double* alpha, const double* a, int lda,
                            const double* b, int ldb, const double* beta, double* c, int ldc) {
  return cublasDgemmStridedBatched(handle, ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}

}  // namespace blas
