// Activations and their gradients: bf16, computed in f32, rounded once. A thread for eight numbers.
// Not here: the linear maps around them.
#include "pieces.cuh"

// An activation's value and its slope.
struct Point {
  float value, slope;
};

__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

__device__ inline Point silu(float x) {
  const float s = sigmoid(x), value = x * s;
  return {value, s + value * (1 - s)};
}

__device__ inline Point quick_gelu(float x) {
  const float s = sigmoid(1.702f * x), value = x * s;
  return {value, s + 1.702f * value * (1 - s)};
}

// x / 2 * (1 + tanh(u)) is x * sigmoid(2 u).
__device__ inline Point gelu_tanh(float x) {
  const float twice = 1.59576912160573f, cubic = 0.044715f;  // 2 sqrt(2 / pi)
  const float s = sigmoid(twice * (x + cubic * x * x * x)), value = x * s;
  return {value, s + value * (1 - s) * twice * (1 + 3 * cubic * x * x)};
}

// Phi(-z) = exp(-z^2 / 2) * R(z) for z >= 0, where R falls slowly: R(z) = t * p(t) with t = 1 / (1 + 0.3 z). The polynomial p
// is fitted for the smallest largest relative error over 0 <= z <= 14, 1.5e-7; in f32 all is within 5e-7, far below zero too.
__device__ inline Point gelu_erf(float x) {
  const float z = fabsf(x), bell = expf(-0.5f * x * x), t = __fdividef(1, 1 + 0.3f * z);
  float p = 0.0356747886f;
  p = p * t - 0.157203142f;
  p = p * t + 0.206353605f;
  p = p * t - 0.0536837307f;
  p = p * t + 0.12856167f;
  p = p * t + 0.09991348f;
  p = p * t + 0.120753958f;
  p = p * t + 0.119629299f;
  const float tail = bell * t * p, phi = x < 0 ? tail : 1 - tail;
  return {x * phi, phi + x * 0.398942280401433f * bell};
}

template <class F> __device__ void forward(const bf16* x, bf16* out, int n, F activation) {
  const Span own = own_span(n);
  if (own.count == 0) return;
  Piece piece = load_piece(x + own.start, own.count);
  for (int j = 0; j < 8; ++j) piece.at[j] = activation(piece.at[j]).value;
  store_piece(out + own.start, piece, own.count);
}

template <class F> __device__ void backward(const bf16* x, const bf16* grad, bf16* dx, int n, F activation) {
  const Span own = own_span(n);
  if (own.count == 0) return;
  const Piece at = load_piece(x + own.start, own.count);
  Piece piece = load_piece(grad + own.start, own.count);
  for (int j = 0; j < 8; ++j) piece.at[j] *= activation(at.at[j]).slope;
  store_piece(dx + own.start, piece, own.count);
}

#define ACTIVATION(NAME)                                                                                  \
  extern "C" __global__ void NAME##_forward(const bf16* x, bf16* out, int n) { forward(x, out, n, NAME); } \
  extern "C" __global__ void NAME##_backward(const bf16* x, const bf16* grad, bf16* dx, int n) { backward(x, grad, dx, n, NAME); }

ACTIVATION(quick_gelu)
ACTIVATION(gelu_tanh)
ACTIVATION(gelu_erf)

// out = silu(gate) * up.
extern "C" __global__ void swiglu_forward(const bf16* gate, const bf16* up, bf16* out, int n) {
  const Span own = own_span(n);
  if (own.count == 0) return;
  const Piece g = load_piece(gate + own.start, own.count);
  Piece piece = load_piece(up + own.start, own.count);
  for (int j = 0; j < 8; ++j) piece.at[j] *= silu(g.at[j]).value;
  store_piece(out + own.start, piece, own.count);
}

extern "C" __global__ void swiglu_backward(const bf16* gate, const bf16* up, const bf16* grad, bf16* d_gate, bf16* d_up, int n) {
  const Span own = own_span(n);
  if (own.count == 0) return;
  const Piece slopes = load_piece(grad + own.start, own.count);
  Piece g = load_piece(gate + own.start, own.count), u = load_piece(up + own.start, own.count);
  for (int j = 0; j < 8; ++j) {
    const Point at = silu(g.at[j]);
    g.at[j] = slopes.at[j] * u.at[j] * at.slope;
    u.at[j] = slopes.at[j] * at.value;
  }
  store_piece(d_gate + own.start, g, own.count);
  store_piece(d_up + own.start, u, own.count);
}
