// Adding gradients to their buffers, in f32; what is stored in bf16 is rounded once.
// Not here: gradients that an operation's own kernel adds.
#include "pieces.cuh"

// out[i] (+)= gradient[i]; a thread for eight numbers.
template <class T, class Sum>
__device__ void accumulate(const T* gradient, Sum* out, int n, int add) {
  const Span own = own_span(n);
  if (own.count == 0) return;
  Piece sum = load_piece(gradient + own.start, own.count);
  if (add) {
    const Piece before = load_piece(out + own.start, own.count);
    for (int j = 0; j < 8; ++j) sum.at[j] += before.at[j];
  }
  store_piece(out + own.start, sum, own.count);
}

extern "C" __global__ void accumulate_bf16(const bf16* gradient, float* out, int n, int add) { accumulate(gradient, out, n, add); }
extern "C" __global__ void accumulate_f32(const float* gradient, float* out, int n, int add) { accumulate(gradient, out, n, add); }
extern "C" __global__ void accumulate_bf16_in_bf16(const bf16* gradient, bf16* out, int n, int add) {
  accumulate(gradient, out, n, add);
}
extern "C" __global__ void accumulate_f32_in_bf16(const float* gradient, bf16* out, int n, int add) {
  accumulate(gradient, out, n, add);
}
