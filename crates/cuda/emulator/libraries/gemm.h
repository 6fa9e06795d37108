// The one matrix product behind cuBLAS and cublasLt, with their conventions: column major, C = alpha op(A) op(B) + beta C,
// op(A) m x k, op(B) k x n. Products of f64 are summed in f64, all others in f32, over k in ascending order whatever the
// shape; the real library's order depends on the shape.
#pragma once
#include <cstddef>
#include <cstdint>

namespace blas {

// cudaDataType_t
enum DataType : int { R_32F = 0, R_64F = 1, R_16F = 2, R_16BF = 14 };
// cublasStatus_t
enum Status : int { OK = 0, INVALID = 7, NOT_SUPPORTED = 15 };
// cublasComputeType_t: the kinds that sum in f32 and in f64. Sums in f16 are not emulated.
enum ComputeType : int {
  C_32F = 68,
  C_32F_PEDANTIC = 69,
  C_64F = 70,
  C_32F_FAST_16F = 74,
  C_32F_FAST_16BF = 75,
  C_32F_FAST_TF32 = 77,
};

struct Matrix {
  const void* at;
  DataType type;
  bool is_transposed;
  int64_t leading;  // the distance of columns as stored
  int64_t stride;   // the distance of the matrices of a batch
};

struct Product {
  void* stream;
  int64_t m, n, k, batch;
  ComputeType compute;
  const void *alpha, *beta;  // on the host, f64 for C_64F and f32 otherwise
  Matrix a, b, c;            // `c.at` is written
  const void* bias = nullptr;  // m numbers of C's type, added to every column before it is rounded
};

// Checks the product and hands it to the stream.
Status multiply(const Product& product);

}  // namespace blas
