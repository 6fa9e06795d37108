// Sums over rows, in a fixed order.
// Not here: sums of squares for the gradient's norm.
#include "common.cuh"

// out[i] (+)= sum over rows of partial[row][i]; a thread a column.
extern "C" __global__ void sum_partials(const float* partial, float* out, int n_rows, int width, int add) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= width) return;
  float sum = 0;
  for (int row = 0; row < n_rows; ++row) sum += partial[int64_t(row) * width + i];
  out[i] = add ? out[i] + sum : sum;
}

// partial[block][i] = sum of x[row][i] over the block's rows, in f32; a thread has two columns.
extern "C" __global__ void sum_columns(const bf16* x, float* partial, int n_rows, int rows_per_block, int width) {
  const int i = (blockIdx.x * blockDim.x + threadIdx.x) * 2;
  if (i >= width) return;
  const int first = blockIdx.y * rows_per_block, end = min(n_rows, first + rows_per_block);
  const bool has_second = i + 1 < width;
  float low = 0, high = 0;
  for (int row = first; row < end; ++row) {
    const bf16* from = x + int64_t(row) * width + i;
    if (width % 2 == 0) {
      const auto pair = *reinterpret_cast<const __nv_bfloat162*>(from);
      low += __bfloat162float(pair.x);
      high += __bfloat162float(pair.y);
    } else {
      low += __bfloat162float(from[0]);
      if (has_second) high += __bfloat162float(from[1]);
    }
  }
  float* to = partial + int64_t(blockIdx.y) * width + i;
  to[0] = low;
  if (has_second) to[1] = high;
}
