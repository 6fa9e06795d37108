// AdamW, one pass over all parameters, whose weights and moments are changed in place: f32 master weights with a copy in bf16,
// or weights in bf16 alone, which are rounded by chance. Moments are f32, gradients f32 or bf16. Each operation is rounded by
// itself, as on the CPU, where nothing is fused: both give the same bits.
// Not here: the norm that clips the gradient (squares.cu).
#include "common.cuh"
#include "philox.cuh"
#include "table.cuh"

// The numbers of one parameter's step (Rule in src/adamw.rs says what each is).
struct Rule {
  float grad_scale, first_share, beta2, second_share, minus_step_size, second_correction, eps, shrink;
};

__device__ inline float times(float x, float y) { return __fmul_rn(x, y); }
__device__ inline float plus(float x, float y) { return __fadd_rn(x, y); }

// m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g * g;
// p = shrink * p - step_size * m / (sqrt(v) / second_correction + eps).
__device__ inline void step(float& p, float& m, float& v, float g, const Rule& rule) {
  g = times(g, rule.grad_scale);
  m = plus(m, times(rule.first_share, plus(g, -m)));
  v = plus(times(v, rule.beta2), times(times(rule.second_share, g), g));
  const float denominator = plus(__fdiv_rn(__fsqrt_rn(v), rule.second_correction), rule.eps);
  p = plus(times(p, rule.shrink), __fdiv_rn(times(rule.minus_step_size, m), denominator));
}

// What is read and changed of one parameter: arrays of one length. `copy` may be null.
template <class Gradient>
struct Update {
  float *parameter, *m, *v;
  const Gradient* grad;
  bf16* copy;
  Rule rule;
};

template <class Gradient>
__device__ void move_masters(const Row<Update<Gradient>>* rows, int n_rows) {
  const Row<Update<Gradient>>& row = row_of_block(rows, n_rows);
  const auto [parameter, m, v, grad, copy, rule] = row.of;
  const bool aligned = row.aligned;
  const int64_t start = int64_t(blockIdx.x - row.first_block) * SHARE, end = min(start + SHARE, row.n);
  for (int64_t first = start + 4 * threadIdx.x; first < end; first += 4 * blockDim.x) {
    if (aligned && first + 4 <= end) {
      Four p = load_four(parameter + first), mean = load_four(m + first), square = load_four(v + first);
      const Four g = load_four(grad + first);
      FourHalves rounded;
      for (int j = 0; j < 4; ++j) {
        step(p.at[j], mean.at[j], square.at[j], g.at[j], rule);
        rounded.at[j] = __float2bfloat16(p.at[j]);
      }
      store_four(parameter + first, p);
      store_four(m + first, mean);
      store_four(v + first, square);
      if (copy) *reinterpret_cast<FourHalves*>(copy + first) = rounded;
      continue;
    }
    for (int64_t i = first; i < min(first + 4, end); ++i) {
      step(parameter[i], m[i], v[i], grad[i], rule);
      if (copy) copy[i] = __float2bfloat16(parameter[i]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(256) adamw(const Row<Update<float>>* rows, int n_rows) {
  move_masters(rows, n_rows);
}
extern "C" __global__ void __launch_bounds__(256) adamw_of_bf16(const Row<Update<bf16>>* rows, int n_rows) {
  move_masters(rows, n_rows);
}

// What is read and changed of one parameter whose weights are bf16 alone.
template <class Gradient>
struct RoundedUpdate {
  bf16* weights;
  float *m, *v;
  const Gradient* grad;
  Rule rule;
  Stream stream;
};

// Rounds to one of the two neighbours in bf16: up with the probability that makes the mean `x`. `random`: 16 bits.
__device__ inline bf16 rounded_by_chance(float x, uint32_t random) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7F800000) == 0x7F800000) return __float2bfloat16(x);  // an infinity or a NaN
  return __ushort_as_bfloat16(static_cast<unsigned short>((bits + random) >> 16));
}

// A thread for eight numbers, which take their bits from one block of the stream: number i the i % 8th half word of block i / 8.
template <class Gradient>
__device__ void move_weights(const Row<RoundedUpdate<Gradient>>* rows, int n_rows) {
  const Row<RoundedUpdate<Gradient>>& row = row_of_block(rows, n_rows);
  const auto [weights, m, v, grad, rule, stream] = row.of;
  const bool aligned = row.aligned;
  const int64_t start = int64_t(blockIdx.x - row.first_block) * SHARE, end = min(start + SHARE, row.n);
  for (int64_t first = start + 8 * threadIdx.x; first < end; first += 8 * blockDim.x) {
    const Block random = philox(stream, uint32_t(first / 8));
    if (aligned && first + 8 <= end) {
      Eight p = load_eight(weights + first);
      for (int half = 0; half < 2; ++half) {
        const int64_t four = first + 4 * half;
        Four mean = load_four(m + four), square = load_four(v + four);
        const Four g = load_four(grad + four);
        for (int j = 0; j < 4; ++j) {
          float x = __bfloat162float(p.at[4 * half + j]);
          step(x, mean.at[j], square.at[j], g.at[j], rule);
          p.at[4 * half + j] = rounded_by_chance(x, random.at[2 * half + j / 2] >> 16 * (j % 2) & 0xFFFF);
        }
        store_four(m + four, mean);
        store_four(v + four, square);
      }
      store_eight(weights + first, p);
      continue;
    }
    for (int j = 0; j < 8; ++j) {
      const int64_t i = first + j;
      if (i >= end) break;
      float x = __bfloat162float(weights[i]);
      step(x, m[i], v[i], grad[i], rule);
      weights[i] = rounded_by_chance(x, random.at[j / 2] >> 16 * (j % 2) & 0xFFFF);
    }
  }
}

extern "C" __global__ void __launch_bounds__(256) adamw_rounded(const Row<RoundedUpdate<float>>* rows, int n_rows) {
  move_weights(rows, n_rows);
}
extern "C" __global__ void __launch_bounds__(256) adamw_rounded_of_bf16(const Row<RoundedUpdate<bf16>>* rows, int n_rows) {
  move_weights(rows, n_rows);
}
