// RMSNorm and LayerNorm over the last axis, with their gradients. Rows of bf16, statistics in f32.
// `width` is a multiple of 8. `bias` is null for RMSNorm, which does not subtract the mean.
// Not here: sums of the partial gradients over blocks (reduce.cu).
#include "common.cuh"

struct Statistics {
  float mean, scale;
};

// mean and 1 / sqrt(var + eps), or 0 and 1 / sqrt(mean(x^2) + eps).
__device__ Statistics statistics(const bf16* x, int width, bool centred, float eps, float* scratch) {
  float mean = 0;
  if (centred) {
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
      const Eight numbers = load_eight(x + i);
      for (int j = 0; j < 8; ++j) mean += __bfloat162float(numbers.at[j]);
    }
    mean = block_sum(mean, scratch) / width;
  }
  float squares = 0;
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
    const Eight numbers = load_eight(x + i);
    for (int j = 0; j < 8; ++j) {
      const float distance = __bfloat162float(numbers.at[j]) - mean;
      squares += distance * distance;
    }
  }
  return {mean, rsqrtf(block_sum(squares, scratch) / width + eps)};
}

// A block a row.
extern "C" __global__ void norm_forward(const bf16* x, const bf16* weight, const bf16* bias, bf16* out, int width, float eps) {
  __shared__ float scratch[32];
  x += int64_t(blockIdx.x) * width;
  out += int64_t(blockIdx.x) * width;
  const Statistics row = statistics(x, width, bias != nullptr, eps, scratch);
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
    const Eight numbers = load_eight(x + i), weights = load_eight(weight + i);
    Eight results;
    for (int j = 0; j < 8; ++j) {
      float y = (__bfloat162float(numbers.at[j]) - row.mean) * row.scale * __bfloat162float(weights.at[j]);
      if (bias) y += __bfloat162float(bias[i + j]);
      results.at[j] = __float2bfloat16(y);
    }
    store_eight(out + i, results);
  }
}

// A block for `rows_per_block` rows. With h = (x - mean) * scale and d = grad * weight:
// dx = scale * (d - mean(d) - h * mean(d * h)), without mean(d) for RMSNorm.
// Partial sums over the block's rows: d_weight[block] of grad * h, d_bias[block] of grad; either may be null.
extern "C" __global__ void norm_backward(const bf16* x, const bf16* weight, const bf16* grad, bf16* dx, float* d_weight,
                                         float* d_bias, int n_rows, int rows_per_block, int width, int centred, float eps) {
  __shared__ float scratch[32];
  // The sums over the rows so far: `width` for the weight, then `width` for the bias. A column has one thread.
  extern __shared__ float sums[];
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8)
    for (int j = 0; j < 8; ++j) {
      sums[i + j] = 0;
      if (d_bias) sums[width + i + j] = 0;
    }
  const int first = blockIdx.x * rows_per_block;
  const int end = min(n_rows, first + rows_per_block);
  for (int r = first; r < end; ++r) {
    const int64_t start = int64_t(r) * width;
    const Statistics row = statistics(x + start, width, centred, eps, scratch);
    float along = 0, centre = 0;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
      const Eight numbers = load_eight(x + start + i), weights = load_eight(weight + i), slopes = load_eight(grad + start + i);
      for (int j = 0; j < 8; ++j) {
        const float h = (__bfloat162float(numbers.at[j]) - row.mean) * row.scale;
        const float g = __bfloat162float(slopes.at[j]);
        const float d = g * __bfloat162float(weights.at[j]);
        along += d * h;
        centre += d;
        if (d_weight) sums[i + j] += g * h;
        if (d_bias) sums[width + i + j] += g;
      }
    }
    along = block_sum(along, scratch) / width;
    centre = centred ? block_sum(centre, scratch) / width : 0;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
      const Eight numbers = load_eight(x + start + i), weights = load_eight(weight + i), slopes = load_eight(grad + start + i);
      Eight results;
      for (int j = 0; j < 8; ++j) {
        const float h = (__bfloat162float(numbers.at[j]) - row.mean) * row.scale;
        const float d = __bfloat162float(slopes.at[j]) * __bfloat162float(weights.at[j]);
        results.at[j] = __float2bfloat16(row.scale * (d - centre - h * along));
      }
      store_eight(dx + start + i, results);
    }
  }
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8)
    for (int j = 0; j < 8; ++j) {
      if (d_weight) d_weight[int64_t(blockIdx.x) * width + i + j] = sums[i + j];
      if (d_bias) d_bias[int64_t(blockIdx.x) * width + i + j] = sums[width + i + j];
    }
}
