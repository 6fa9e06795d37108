// Activations and their gradients: bf16, computed in f32, rounded once. A thread for eight numbers.
// Not here: the linear maps around them.
#include "activation.cuh"
#include "pieces.cuh"

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
