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
  let_next_begin();
  wait_for_previous();
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

// The backward pass reads a row once: its vectors of eight numbers stay in the registers of a team of warps.
constexpr int WARPS = 6;  // of a block
// Vectors that a lane can hold, beside its sums for the weight and, for LayerNorm, the bias.
template <bool CENTRED>
constexpr int PER_LANE = CENTRED ? 5 : 6;

// Eight numbers of 16 bits as they are in memory.
struct alignas(16) Packed {
  uint32_t words[4];
};

__device__ inline Packed load_packed(const bf16* from) { return *reinterpret_cast<const Packed*>(from); }

// A bf16 is the upper half of a float.
__device__ inline float number(const Packed& packed, int j) {
  const uint32_t word = packed.words[j / 2];
  return __uint_as_float(j % 2 ? word & 0xffff0000u : word << 16);
}

struct Pair {
  float first, second;
};

// Both sums over the team, the same to the bit in each of its lanes.
template <int TEAM>
__device__ Pair team_sums(Pair x, Pair* scratch) {
#pragma unroll
  for (int flipped = 16; flipped; flipped /= 2) {
    x.first += __shfl_xor_sync(~0u, x.first, flipped);
    x.second += __shfl_xor_sync(~0u, x.second, flipped);
  }
  if (TEAM == 1) return x;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  Pair sum = {0, 0};
  for (int warp = 0; warp < TEAM; ++warp) {
    sum.first += scratch[warp].first;
    sum.second += scratch[warp].second;
  }
  __syncthreads();
  return sum;
}

// A lane's vectors are STEP columns apart. The first of them begins at this column.
template <int TEAM>
constexpr int STEP = 32 * TEAM * 8;
template <int TEAM>
__device__ int first_column() {
  return threadIdx.x % (32 * TEAM) * 8;
}

// out = the sums of the block's teams, one team after the other. `totals`: room for `width` numbers in shared memory.
template <int TEAM, int N>
__device__ void store_sums(const float (&sums)[N][8], float* totals, float* out, int width) {
  float* own = totals + first_column<TEAM>();
  const int left = width - first_column<TEAM>();
  for (int team = 0; team < WARPS / TEAM; ++team) {
    if (int(threadIdx.x) / (32 * TEAM) == team) {
#pragma unroll
      for (int v = 0; v < N; ++v) {
        if (v * STEP<TEAM> >= left) break;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          float& total = own[v * STEP<TEAM> + j];
          total = team ? total + sums[v][j] : sums[v][j];
        }
      }
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < width; i += blockDim.x) out[i] = totals[i];
  __syncthreads();
}

// A block for `rows_per_block` rows, which its teams of TEAM warps take in turn. With h = (x - mean) * scale and
// d = grad * weight: dx = residual + scale * (d - mean(d) - h * mean(d * h)), without mean(d) for RMSNorm; `residual` may be
// null.
// Partial sums over the block's rows: d_weight[block] of grad * h, d_bias[block] of grad; either may be null.
template <int TEAM, bool CENTRED>
__device__ void backward(const bf16* x, const bf16* weight, const bf16* grad, const bf16* residual, bf16* dx,
                         float* d_weight, float* d_bias, int n_rows, int rows_per_block, int width, float eps) {
  constexpr int N = PER_LANE<CENTRED>;
  __shared__ Pair scratch[WARPS];
  extern __shared__ float totals[];
  float weight_sums[N][8] = {}, bias_sums[N][8] = {};
  const int left = width - first_column<TEAM>();
  weight += first_column<TEAM>();
  const float share = 1.0f / width;
  const int first = blockIdx.x * rows_per_block;
  const int end = min(n_rows, first + rows_per_block);
  for (int r = first + threadIdx.x / (32 * TEAM); r < end; r += WARPS / TEAM) {
    const int64_t start = int64_t(r) * width + first_column<TEAM>();
    Packed numbers[N], slopes[N];
#pragma unroll
    for (int v = 0; v < N; ++v) {
      if (v * STEP<TEAM> >= left) break;
      numbers[v] = load_packed(x + start + v * STEP<TEAM>);
      slopes[v] = load_packed(grad + start + v * STEP<TEAM>);
    }
    float mean = 0, centre = 0;
    if (CENTRED) {
      Pair sums = {0, 0};  // of x and of d
#pragma unroll
      for (int v = 0; v < N; ++v) {
        if (v * STEP<TEAM> >= left) break;
        const Packed weights = load_packed(weight + v * STEP<TEAM>);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          sums.first += number(numbers[v], j);
          sums.second += number(slopes[v], j) * number(weights, j);
        }
      }
      sums = team_sums<TEAM>(sums, scratch);
      mean = sums.first * share;
      centre = sums.second * share;
    }
    Pair sums = {0, 0};  // of (x - mean)^2 and of d * (x - mean)
#pragma unroll
    for (int v = 0; v < N; ++v) {
      if (v * STEP<TEAM> >= left) break;
      const Packed weights = load_packed(weight + v * STEP<TEAM>);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float distance = number(numbers[v], j) - mean;
        const float d = number(slopes[v], j) * number(weights, j);
        sums.first += distance * distance;
        sums.second += d * distance;
      }
    }
    sums = team_sums<TEAM>(sums, scratch);
    const float scale = rsqrtf(sums.first * share + eps);
    const float along = sums.second * share * scale;
#pragma unroll
    for (int v = 0; v < N; ++v) {
      if (v * STEP<TEAM> >= left) break;
      const Packed weights = load_packed(weight + v * STEP<TEAM>);
      Packed past = {};
      if (residual) past = load_packed(residual + start + v * STEP<TEAM>);
      Eight results;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float h = (number(numbers[v], j) - mean) * scale;
        const float g = number(slopes[v], j);
        const float d = g * number(weights, j);
        weight_sums[v][j] += g * h;
        if (CENTRED) bias_sums[v][j] += g;
        results.at[j] = __float2bfloat16(number(past, j) + scale * (d - centre - h * along));
      }
      store_eight(dx + start + v * STEP<TEAM>, results);
    }
  }
  if (d_weight) store_sums<TEAM>(weight_sums, totals, d_weight + int64_t(blockIdx.x) * width, width);
  if (CENTRED && d_bias) store_sums<TEAM>(bias_sums, totals, d_bias + int64_t(blockIdx.x) * width, width);
}

// `narrow`: a warp a row, of at most 256 * PER_LANE numbers; `wide`: a block a row, WARPS times as long.
#define BACKWARD(NAME, TEAM, CENTRED)                                                                                  \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, 2)                                                          \
      NAME(const bf16* x, const bf16* weight, const bf16* grad, const bf16* residual, bf16* dx, float* d_weight,       \
           float* d_bias, int n_rows, int rows_per_block, int width, float eps) {                                      \
    backward<TEAM, CENTRED>(x, weight, grad, residual, dx, d_weight, d_bias, n_rows, rows_per_block, width, eps);      \
  }

BACKWARD(rms_norm_backward_narrow, 1, false)
BACKWARD(rms_norm_backward_wide, WARPS, false)
BACKWARD(layer_norm_backward_narrow, 1, true)
BACKWARD(layer_norm_backward_wide, WARPS, true)
