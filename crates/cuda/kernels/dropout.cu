// Dropout, or its gradient added to another: each number is dropped or scaled by a stream's bits. A thread for eight numbers.
// Not here: what is made of the numbers.
#include "philox.cuh"
#include "pieces.cuh"

// Number i is dropped where the i % 8th half word of block i / 8, low ones first, is below `dropped`; the others are scaled.
// `add`: whether the result is added to `out`.
extern "C" __global__ void dropout(const bf16* x, bf16* out, int n, int add, uint32_t key0, uint32_t key1, uint32_t b,
                                   uint32_t c, uint32_t d, uint32_t dropped, float scale) {
  const Span own = own_span(n);
  if (own.count == 0) return;
  const Stream stream{{key0, key1}, {0, b, c, d}};
  const Block random = philox(stream, uint32_t(own.start / 8));
  Piece kept = load_piece(x + own.start, own.count);
  for (int j = 0; j < 8; ++j) {
    const uint32_t bits = random.at[j / 2] >> 16 * (j % 2) & 0xFFFF;
    kept.at[j] = bits < dropped ? 0 : kept.at[j] * scale;
  }
  if (add) {
    const Piece sum = load_piece(out + own.start, own.count);
    for (int j = 0; j < 8; ++j) kept.at[j] += sum.at[j];
  }
  store_piece(out + own.start, kept, own.count);
}
