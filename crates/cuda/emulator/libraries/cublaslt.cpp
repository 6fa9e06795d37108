// libcublasLt: cublasLtMatmul without an epilogue or with a bias. There is one algorithm, which needs no workspace.
#include "driver/result.h"
#include "libraries/gemm.h"

#include <cstring>

namespace blas {
namespace {

struct Layout {
  DataType type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t batch = 1;
  int64_t stride = 0;
};
enum LayoutAttribute { BATCH_COUNT = 5, BATCH_STRIDE = 6 };  // cublasLtMatrixLayoutAttribute_t

struct Operation {
  ComputeType compute;
  int is_a_transposed = 0, is_b_transposed = 0;
  int epilogue = 1;
  const void* bias = nullptr;
};
// cublasLtMatmulDescAttributes_t
enum OperationAttribute { TRANSPOSE_A = 3, TRANSPOSE_B = 4, TRANSPOSE_C = 5, EPILOGUE = 7, BIAS = 8 };
enum Epilogue { NOTHING = 1, ADD_BIAS = 4 };  // cublasLtEpilogue_t

template <class T> Status read(T& to, const void* from, size_t bytes) {
  if (bytes != sizeof to) return INVALID;
  memcpy(&to, from, bytes);
  return OK;
}

}  // namespace

CUDA_API int cublasLtCreate(void** handle) {
  *handle = new char;
  return OK;
}

CUDA_API int cublasLtDestroy(void* handle) {
  delete static_cast<char*>(handle);
  return OK;
}

CUDA_API int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  *layout = new Layout{DataType(type), rows, columns, leading};
  return OK;
}

CUDA_API int cublasLtMatrixLayoutDestroy(void* layout) {
  delete static_cast<Layout*>(layout);
  return OK;
}

CUDA_API int cublasLtMatrixLayoutSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
  auto& layout = *static_cast<Layout*>(handle);
  switch (attribute) {
    case BATCH_COUNT: return read(layout.batch, value, bytes);
    case BATCH_STRIDE: return read(layout.stride, value, bytes);
    default: return NOT_SUPPORTED;
  }
}

CUDA_API int cublasLtMatmulDescCreate(void** operation, int compute, int) {
  *operation = new Operation{ComputeType(compute)};
  return OK;
}

CUDA_API int cublasLtMatmulDescDestroy(void* operation) {
  delete static_cast<Operation*>(operation);
  return OK;
}

CUDA_API int cublasLtMatmulDescSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
  auto& operation = *static_cast<Operation*>(handle);
  switch (attribute) {
    case TRANSPOSE_A: return read(operation.is_a_transposed, value, bytes);
    case TRANSPOSE_B: return read(operation.is_b_transposed, value, bytes);
    case TRANSPOSE_C: return bytes == sizeof(int) && *static_cast<const int*>(value) == 0 ? OK : NOT_SUPPORTED;
    case EPILOGUE: {
      const Status status = read(operation.epilogue, value, bytes);
      if (status != OK) return status;
      return operation.epilogue == NOTHING || operation.epilogue == ADD_BIAS ? OK : NOT_SUPPORTED;
    }
    case BIAS: return read(operation.bias, value, bytes);
    default: return NOT_SUPPORTED;
  }
}

CUDA_API int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new char;
  return OK;
}

CUDA_API int cublasLtMatmulPreferenceDestroy(void* preference) {
  delete static_cast<char*>(preference);
  return OK;
}

CUDA_API int cublasLtMatmulPreferenceSetAttribute(void*, int, const void*, size_t) { return OK; }

// cublasLtMatmulHeuristicResult_t
struct HeuristicResult {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

CUDA_API int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int n_asked,
                                            HeuristicResult* results, int* n_found) {
  *n_found = n_asked > 0;
  if (n_asked > 0) results[0] = HeuristicResult{};
  return OK;
}

CUDA_API int cublasLtMatmul(void*, void* operation_handle, const void* alpha, const void* a, void* a_layout, const void* b,
                            void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                            const void*, void*, size_t, void* stream) {
  const auto& operation = *static_cast<Operation*>(operation_handle);
  const auto &la = *static_cast<Layout*>(a_layout), &lb = *static_cast<Layout*>(b_layout);
  const auto &lc = *static_cast<Layout*>(c_layout), &ld = *static_cast<Layout*>(d_layout);
  const uint64_t m = operation.is_a_transposed ? la.columns : la.rows, k = operation.is_a_transposed ? la.rows : la.columns;
  const uint64_t n = operation.is_b_transposed ? lb.rows : lb.columns;
  if ((operation.is_b_transposed ? lb.columns : lb.rows) != k || ld.rows != m || ld.columns != n) return INVALID;
  if (lc.rows != m || lc.columns != n) return INVALID;
  if (c != d && *static_cast<const float*>(beta) != 0) return NOT_SUPPORTED;
  return multiply({stream, int64_t(m), int64_t(n), int64_t(k), ld.batch, operation.compute, alpha, beta,
                   {a, la.type, operation.is_a_transposed != 0, la.leading, la.stride},
                   {b, lb.type, operation.is_b_transposed != 0, lb.leading, lb.stride},
                   {d, ld.type, false, ld.leading, ld.stride},
                   operation.epilogue == ADD_BIAS ? operation.bias : nullptr});
}

}  // namespace blas
