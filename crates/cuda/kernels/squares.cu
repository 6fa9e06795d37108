// Sums of squares, for the gradients' norm: in f64, in an order that depends on the number of elements alone.
// Not here: the root, and what is done with the norm.
#include "common.cuh"
#include "table.cuh"

// Four numbers from `first` on, zeros beyond the end.
template <class T>
__device__ inline Four four_or_zeros(const T* x, int64_t first, int64_t n) {
  Four numbers;
  for (int j = 0; j < 4; ++j) numbers.at[j] = first + j < n ? float(x[first + j]) : 0;
  return numbers;
}

// partial[block] = the sum of the squares of the block's share of its array.
template <class T>
__device__ void add_squares(const Row<const T*>* rows, int n_rows, double* partial) {
  __shared__ double scratch[32];
  constexpr int AT_ONCE = 4;  // accesses on their way at the same time
  const Row<const T*> row = row_of_block(rows, n_rows);
  const int stride = 4 * blockDim.x;
  const int64_t start = int64_t(blockIdx.x - row.first_block) * SHARE, end = min(start + SHARE, row.n);
  double sums[4] = {0, 0, 0, 0};
  for (int64_t first = start + 4 * threadIdx.x; first < end; first += AT_ONCE * stride) {
    Four numbers[AT_ONCE];
    if (row.aligned && first + (AT_ONCE - 1) * stride + 4 <= end)
      for (int k = 0; k < AT_ONCE; ++k) numbers[k] = load_four(row.of + first + k * stride);
    else
      for (int k = 0; k < AT_ONCE; ++k) numbers[k] = four_or_zeros(row.of, first + k * stride, end);
    for (int k = 0; k < AT_ONCE; ++k)
      for (int j = 0; j < 4; ++j) sums[j] += double(numbers[k].at[j]) * numbers[k].at[j];
  }
  const double sum = block_sum((sums[0] + sums[1]) + (sums[2] + sums[3]), scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(256, 4) sum_squares(const Row<const float*>* rows, int n_rows, double* partial) {
  add_squares(rows, n_rows, partial);
}
extern "C" __global__ void __launch_bounds__(256, 4) sum_squares_of_bf16(const Row<const bf16*>* rows, int n_rows,
                                                                        double* partial) {
  add_squares(rows, n_rows, partial);
}

// A block an array: out[array] = the sum of its partial sums.
extern "C" __global__ void sum_parts(const Row<const void*>* rows, const double* partial, double* out) {
  __shared__ double scratch[32];
  const Row<const void*> row = rows[blockIdx.x];
  const int n_parts = int((row.n + SHARE - 1) / SHARE);
  double sum = 0;
  for (int i = threadIdx.x; i < n_parts; i += blockDim.x) sum += partial[row.first_block + i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
