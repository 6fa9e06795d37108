// Arrays read and written in pieces of eight neighbouring numbers, as f32 in registers: in one access where the piece is
// whole and its address fits, number by number elsewhere, so that no length and no address needs a kernel of its own.
// Not here: any kernel.
#pragma once
#include "common.cuh"

struct Piece {
  float at[8];
};

__device__ inline bool in_one_access(const void* address, int count) {
  return count >= 8 && reinterpret_cast<uintptr_t>(address) % 16 == 0;
}

// Eight numbers where they are one access.
__device__ inline Piece load_whole_piece(const bf16* from) {
  const Eight numbers = load_eight(from);
  Piece piece;
  for (int j = 0; j < 8; ++j) piece.at[j] = __bfloat162float(numbers.at[j]);
  return piece;
}

__device__ inline Piece load_whole_piece(const float* from) {
  const float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

// The first `count` numbers, at most eight, and zeros behind them.
template <class T>
__device__ Piece load_piece(const T* from, int count) {
  if (in_one_access(from, count)) return load_whole_piece(from);
  Piece piece;
  for (int j = 0; j < 8; ++j) piece.at[j] = j < count ? float(from[j]) : 0;
  return piece;
}

__device__ inline void store_piece(bf16* to, const Piece& piece, int count) {
  if (in_one_access(to, count)) {
    Eight numbers;
    for (int j = 0; j < 8; ++j) numbers.at[j] = __float2bfloat16(piece.at[j]);
    store_eight(to, numbers);
  } else {
    for (int j = 0; j < 8; ++j)
      if (j < count) to[j] = __float2bfloat16(piece.at[j]);
  }
}

__device__ inline void store_piece(float* to, const Piece& piece, int count) {
  if (in_one_access(to, count)) {
    const auto& x = piece.at;
    reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
  } else {
    for (int j = 0; j < 8; ++j)
      if (j < count) to[j] = piece.at[j];
  }
}

// The piece of `n` numbers that this thread takes, where each takes one; empty behind the end.
struct Span {
  int64_t start;
  int count;
};

__device__ inline Span own_span(int n) {
  const int64_t start = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  return {start, int(max(int64_t(0), min(n - start, int64_t(8))))};
}
