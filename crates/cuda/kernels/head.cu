// The softmax over rows of logits: its statistics, and the slopes of log-probabilities. Logits are f32, divided by the
// temperature, in rows of `stride` numbers, a multiple of 8, of which the first `width` count. A block has a row.
// Not here: the products that logits come from and slopes go to.
#include "common.cuh"

#include <cfloat>

namespace {

// exp(x - maximum) summed, and times x - maximum.
struct Sums {
  float maximum = -FLT_MAX, exponentials = 0, moments = 0;

  __device__ void move_to(float larger) {
    const float step = maximum - larger, factor = expf(step);
    moments = factor * (moments + step * exponentials);
    exponentials *= factor;
    maximum = larger;
  }

  __device__ void add(float x) {
    const float shifted = x - maximum, e = expf(shifted);
    exponentials += e;
    moments += e * shifted;
  }
};

// Over all threads of a block, the same to the bit in each of them; `scratch` holds 32 numbers. As block_sum.
__device__ float block_maximum(float x, float* scratch) {
  for (int flipped = 16; flipped; flipped /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, flipped));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float largest = scratch[0];
  for (int warp = 1; warp < int(blockDim.x) / 32; ++warp) largest = fmaxf(largest, scratch[warp]);
  __syncthreads();
  return largest;
}

}  // namespace

// Each row is read once. logp is NaN where the target is beyond the row.
extern "C" __global__ void head_statistics(const float* logits, const unsigned* targets, float* logp, float* log_sum_exp,
                                           float* entropy, int width, int stride) {
  __shared__ float scratch[32];
  const int row = blockIdx.x;
  logits += int64_t(row) * stride;
  Sums sums;
  const int step = blockDim.x * 4;
  int i = threadIdx.x * 4;
  // Four accesses to memory are on their way at once.
  for (; i + 3 * step + 4 <= width; i += 4 * step) {
    Four fours[4];
    for (int k = 0; k < 4; ++k) fours[k] = load_four(logits + i + k * step);
    float largest = fours[0].at[0];
    for (const Four& four : fours)
      for (const float x : four.at) largest = fmaxf(largest, x);
    if (largest > sums.maximum) sums.move_to(largest);
    for (const Four& four : fours)
      for (const float x : four.at) sums.add(x);
  }
  for (; i < width; i += step) {
    const Four four = load_four(logits + i);
    const int count = min(4, width - i);
    float largest = four.at[0];
    for (int j = 1; j < 4; ++j)
      if (j < count) largest = fmaxf(largest, four.at[j]);
    if (largest > sums.maximum) sums.move_to(largest);
    for (int j = 0; j < 4; ++j)
      if (j < count) sums.add(four.at[j]);
  }
  const float maximum = block_maximum(sums.maximum, scratch);
  sums.move_to(maximum);
  const float exponentials = block_sum(sums.exponentials, scratch), moments = block_sum(sums.moments, scratch);
  if (threadIdx.x > 0) return;
  const unsigned target = targets[row];
  const float log_sum = logf(exponentials), chosen = target < unsigned(width) ? logits[target] : nanf("");
  logp[row] = (chosen - maximum) - log_sum;
  log_sum_exp[row] = maximum + log_sum;
  entropy[row] = log_sum - moments / exponentials;
}

// The gradient to the undivided logits of grad * logp: grad * (1[target] - softmax) / temperature, in bf16 over the first
// half of the row's own memory, so that slopes have rows of 2 * stride numbers.
extern "C" __global__ void head_slopes(float* logits, const unsigned* targets, const float* log_sum_exp, const float* grad,
                                       int width, int stride, float inverse_temperature) {
  const int row = blockIdx.x;
  logits += int64_t(row) * stride;
  bf16* slopes = reinterpret_cast<bf16*>(logits);
  const unsigned target = targets[row];
  const float subtracted = log_sum_exp[row], scale = grad[row] * inverse_temperature;
  const int step = blockDim.x * 8;
  int i = threadIdx.x * 8;
  Four low, high;
  if (i < width) low = load_four(logits + i), high = load_four(logits + i + 4);
  for (int start = 0; start < width; start += step, i += step) {
    Eight results;
    if (i < width) {
      for (int j = 0; j < 8; ++j) {
        const float is_target = unsigned(i + j) == target ? 1.0f : 0.0f;
        const float x = j < 4 ? low.at[j] : high.at[j - 4];
        results.at[j] = __float2bfloat16(scale * (is_target - expf(x - subtracted)));
      }
    }
    // The next turn's logits are on their way while this turn's threads meet.
    if (i + step < width) low = load_four(logits + i + step), high = load_four(logits + i + step + 4);
    // What is written now lies over logits that were read for this turn, by other threads too, or for an earlier one.
    __syncthreads();
    if (i < width) store_eight(slopes + i, results);
  }
}
