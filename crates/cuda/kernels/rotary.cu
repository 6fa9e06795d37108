// Rotary position embedding, rotate-half form: each pair (x[i], x[i + half]) is turned by its token's angle i.
// Products and sums in f32, rounded once.
// Not here: which angles a token has.
#include "pieces.cuh"

// A thread for eight columns of the angles of a token, and every gridDim.y-th of its heads. `x`, `out`: [tokens, heads,
// 2 * half]; `cos`, `sin`: [tokens, half]. `back` turns by the opposite angles, which is the gradient.
extern "C" __global__ void rotary(const bf16* x, const float* cos, const float* sin, bf16* out, int tokens, int heads, int half,
                                  int back) {
  const int pieces = (half + 7) / 8;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  const int token = item / pieces, i = item % pieces * 8;
  if (token >= tokens) return;
  const int count = half - i;
  const Piece c = load_piece(cos + int64_t(token) * half + i, count);
  Piece s = load_piece(sin + int64_t(token) * half + i, count);
  if (back)
    for (int j = 0; j < 8; ++j) s.at[j] = -s.at[j];
  for (int head = blockIdx.y; head < heads; head += gridDim.y) {
    const int64_t start = (int64_t(token) * heads + head) * 2 * half + i;
    const Piece low = load_piece(x + start, count), high = load_piece(x + start + half, count);
    Piece out_low, out_high;
    for (int j = 0; j < 8; ++j) {
      out_low.at[j] = low.at[j] * c.at[j] - high.at[j] * s.at[j];
      out_high.at[j] = high.at[j] * c.at[j] + low.at[j] * s.at[j];
    }
    store_piece(out + start, out_low, count);
    store_piece(out + start + half, out_high, count);
  }
}
