// AdamW, one pass over all parameters: f32 master weights and moments changed in place, and the weights' copy in bf16 written.
// Each operation is rounded by itself, as on the CPU, where nothing is fused: both give the same bits.
// Not here: the norm that clips the gradient (squares.cu).
#include "common.cuh"
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
struct Update {
  float *parameter, *m, *v;
  const float* grad;
  bf16* copy;
  Rule rule;
};

extern "C" __global__ void __launch_bounds__(256) adamw(const Row<Update>* rows, int n_rows) {
  const Row<Update>& row = row_of_block(rows, n_rows);
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
