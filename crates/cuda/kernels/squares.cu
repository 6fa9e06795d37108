// Sums of squares, for the gradients' norm: in f64, in an order that depends on the number of elements alone.
// Not here: the root, and what is done with the norm.
#include "common.cuh"

// Four numbers from `first` on, zeros beyond the end.
__device__ inline Four four_or_zeros(const float* x, int64_t first, int64_t n) {
  Four numbers;
  for (int j = 0; j < 4; ++j) numbers.at[j] = first + j < n ? x[first + j] : 0;
  return numbers;
}

// partial[block] = the sum of the squares of the block's share of `x`; zeros from there on to `n_parts`. `aligned`: whether
// `x` starts where four numbers are one access to memory.
extern "C" __global__ void __launch_bounds__(256, 4) sum_squares(const float* x, double* partial, int n_parts, int64_t n,
                                                                 int aligned) {
  __shared__ double scratch[32];
  constexpr int AT_ONCE = 4;  // accesses on their way at the same time
  const int64_t stride = int64_t(gridDim.x) * blockDim.x * 4;
  double sums[4] = {0, 0, 0, 0};
  for (int64_t first = 4 * (int64_t(blockIdx.x) * blockDim.x + threadIdx.x); first < n; first += AT_ONCE * stride) {
    Four numbers[AT_ONCE];
    if (aligned && first + (AT_ONCE - 1) * stride + 4 <= n)
      for (int k = 0; k < AT_ONCE; ++k) numbers[k] = load_four(x + first + k * stride);
    else
      for (int k = 0; k < AT_ONCE; ++k) numbers[k] = four_or_zeros(x, first + k * stride, n);
    for (int k = 0; k < AT_ONCE; ++k)
      for (int j = 0; j < 4; ++j) sums[j] += double(numbers[k].at[j]) * numbers[k].at[j];
  }
  const double sum = block_sum((sums[0] + sums[1]) + (sums[2] + sums[3]), scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
  for (int i = gridDim.x * (1 + threadIdx.x) + blockIdx.x; i < n_parts; i += gridDim.x * blockDim.x) partial[i] = 0;
}

// A block an array: out[array] = the sum of its `n_parts` partial sums.
extern "C" __global__ void sum_parts(const double* partial, double* out, int n_parts) {
  __shared__ double scratch[32];
  partial += int64_t(blockIdx.x) * n_parts;
  double sum = 0;
  for (int i = threadIdx.x; i < n_parts; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
