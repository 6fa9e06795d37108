// Tensor cores, `ldmatrix` and `cp.async`, which CUDA offers as PTX assembly: the functions a kernel's own header wraps around
// that assembly, for the emulated device. The header for nvcc gives them the same names, types and meaning:
//     #ifdef CUDA_EMULATOR
//     #include "tensor_core.h"
//     #else
//     ... asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 ...
//     #endif
// Layouts of fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "ldmatrix".
#pragma once
#include "float16.h"
#include "warp.h"

namespace simt {

// The sixteen rows of A come in four registers, the eight columns of B in two: lane = 4 * group + member.
struct Mma {
  uint32_t a[4], b[2];
  float d[4];
};

typedef float Columns __attribute__((vector_size(8 * sizeof(float))));  // a row of B or of D

template <class Format> void multiply_fragments(void* (&operands)[32]) {
  float a[16][16];
  Columns b[16], d[16];
  for (int lane = 0; lane < 32; ++lane) {
    if (!operands[lane]) fault("incomplete warp", "lane %d takes no part in a matrix product", lane);
    const Mma& mine = *static_cast<Mma*>(operands[lane]);
    const int group = lane / 4, member = lane % 4;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int k = 2 * member + half;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) a[group + i % 2 * 8][k + i / 2 * 8] = Format::value(uint16_t(mine.a[i] >> 16 * half));
      for (int i = 0; i < 2; ++i) b[k + i * 8][group] = Format::value(uint16_t(mine.b[i] >> 16 * half));
      for (int i = 0; i < 2; ++i) d[group + i * 8][k] = mine.d[2 * i + half];
    }
  }
  for (int row = 0; row < 16; row += 8) {
    Columns sums[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sums[i] = d[row + i];
    for (int k = 0; k < 16; ++k)  // the hardware's order is not documented
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) sums[i] += a[row + i][k] * b[k];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) d[row + i] = sums[i];
  }
  for (int lane = 0; lane < 32; ++lane) {
    Mma& mine = *static_cast<Mma*>(operands[lane]);
    for (int i = 0; i < 4; ++i) mine.d[i] = d[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
  }
}

struct MatrixLoad {
  const void* row;
  uint32_t out[4];
  Place place;
};

// Lanes 8 i to 8 i + 7 name the rows of the i-th 8 x 8 matrix of 16-bit numbers.
template <int N, bool TRANSPOSED> void load_matrices(void* (&operands)[32]) {
  for (int lane = 0; lane < 32; ++lane) {
    if (!operands[lane]) fault("incomplete warp", "lane %d takes no part in ldmatrix", lane);
    const auto& mine = *static_cast<MatrixLoad*>(operands[lane]);
    if (lane < 8 * N && uintptr_t(mine.row) % 16)
      fault("misaligned address", "ldmatrix from %p at %s:%d", mine.row, mine.place.file, mine.place.line);
  }
  for (int i = 0; i < N; ++i) {
    uint16_t matrix[8][8];
    for (int row = 0; row < 8; ++row) memcpy(matrix[row], static_cast<MatrixLoad*>(operands[8 * i + row])->row, sizeof matrix[row]);
    for (int lane = 0; lane < 32; ++lane) {
      const int group = lane / 4, first = 2 * (lane % 4);
      const uint16_t pair[2] = {TRANSPOSED ? matrix[first][group] : matrix[group][first],
                                TRANSPOSED ? matrix[first + 1][group] : matrix[group][first + 1]};
      static_cast<MatrixLoad*>(operands[lane])->out[i] = pair[0] | uint32_t(pair[1]) << 16;
    }
  }
}

template <class Format>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* operation, Place place) {
  Mma mine;
  memcpy(mine.a, a, sizeof a);
  memcpy(mine.b, b, sizeof b);
  memcpy(mine.d, d, sizeof d);
  meet(~0u, operation, place, multiply_fragments<Format>, &mine);
  memcpy(d, mine.d, sizeof d);
}

template <int N, bool TRANSPOSED> void ldmatrix(uint32_t (&out)[N], const void* row, const char* operation, Place place) {
  MatrixLoad mine{row, {}, place};
  meet(~0u, operation, place, load_matrices<N, TRANSPOSED>, &mine);
  memcpy(out, mine.out, sizeof out);
}

}  // namespace simt

// d += a * b, 16 x 8 += 16 x 16 * 16 x 8, by a whole warp.
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATED_PLACE) {
  simt::mma_m16n8k16<simt::BFloat16Format>(d, a, b, "mma.m16n8k16.bf16", {file, line});
}
inline void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATED_PLACE) {
  simt::mma_m16n8k16<simt::HalfFormat>(d, a, b, "mma.m16n8k16.f16", {file, line});
}

// ldmatrix.sync.aligned.m8n8.{x4,x2}[.trans].shared.b16
inline void ldmatrix_x4(uint32_t (&out)[4], const void* row, EMULATED_PLACE) {
  simt::ldmatrix<4, false>(out, row, "ldmatrix.x4", {file, line});
}
inline void ldmatrix_x4_trans(uint32_t (&out)[4], const void* row, EMULATED_PLACE) {
  simt::ldmatrix<4, true>(out, row, "ldmatrix.x4.trans", {file, line});
}
inline void ldmatrix_x2(uint32_t (&out)[2], const void* row, EMULATED_PLACE) {
  simt::ldmatrix<2, false>(out, row, "ldmatrix.x2", {file, line});
}
inline void ldmatrix_x2_trans(uint32_t (&out)[2], const void* row, EMULATED_PLACE) {
  simt::ldmatrix<2, true>(out, row, "ldmatrix.x2.trans", {file, line});
}

// cp.async.cg.shared.global [to], [from], 16, bytes_read: what is not read becomes zero.
inline void cp_async_16(void* to, const void* from, unsigned bytes_read = 16, EMULATED_PLACE) {
  simt::copy_async(to, from, 16, bytes_read, {file, line});
}
// cp.async.ca.shared.global [to], [from], 4, bytes_read
inline void cp_async_4(void* to, const void* from, unsigned bytes_read = 4, EMULATED_PLACE) {
  simt::copy_async(to, from, 4, bytes_read, {file, line});
}
inline void cp_async_commit() { simt::commit_async_copies(); }
// cp.async.wait_group N: all groups but the last N are there.
template <int N> void cp_async_wait() { simt::wait_for_async_copies(N); }
