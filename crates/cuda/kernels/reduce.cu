// Sums over rows, in a fixed order.
// Not here: sums of squares for the gradient's norm.
#include "common.cuh"

// out[i] (+)= sum over rows of partial[row][i]. A block for 32 columns, a lane of each of its 8 warps a column: a warp adds up
// every eighth row, eight of them on their way from memory at once, and then the warps' sums are added.
template <class Sum>
__device__ void add_partials(const float* partial, Sum* out, int n_rows, int width, int add) {
  constexpr int WARPS = 8, AT_ONCE = 8;
  __shared__ float sums[WARPS][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int i = blockIdx.x * 32 + lane;
  float sum = 0;
  if (i < width) {
    int row = warp;
    for (; row + (AT_ONCE - 1) * WARPS < n_rows; row += AT_ONCE * WARPS) {
      float numbers[AT_ONCE];
#pragma unroll
      for (int k = 0; k < AT_ONCE; ++k) numbers[k] = partial[int64_t(row + k * WARPS) * width + i];
#pragma unroll
      for (int k = 0; k < AT_ONCE; ++k) sum += numbers[k];
    }
    for (; row < n_rows; row += WARPS) sum += partial[int64_t(row) * width + i];
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || i >= width) return;
  for (int other = 1; other < WARPS; ++other) sum += sums[other][lane];
  store_one(out + i, add ? float(out[i]) + sum : sum);
}

extern "C" __global__ void sum_partials(const float* partial, float* out, int n_rows, int width, int add) {
  add_partials(partial, out, n_rows, width, add);
}
extern "C" __global__ void sum_partials_in_bf16(const float* partial, bf16* out, int n_rows, int width, int add) {
  add_partials(partial, out, n_rows, width, add);
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
