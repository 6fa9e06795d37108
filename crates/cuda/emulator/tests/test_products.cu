// Kernels of the emulator's tests: a matrix product with `mma`, `ldmatrix` and a pipeline of `cp.async`, right and with planted
// faults. Not here: kernels without tensor cores (test_reductions.cu).
#include "tensor_core.h"

#include <cuda_bf16.h>

enum Planted { NO_FAULT, WEAK_WAIT, NO_TRAILING_BARRIER, MISALIGNED };

constexpr int TILE_K = 32;
constexpr int PITCH = TILE_K + 8;  // 16 bytes of padding: the rows of an 8 x 8 matrix lie in different banks

// c[m][n] f32 = a[m][k] b[n][k]^T in bf16, m and n multiples of 64 (a block does 64 x 64), k of TILE_K. A block has 4 warps,
// each of which does 16 rows. Two buffers: while one is multiplied, the next tile is copied to the other.
template <Planted FAULT>
__device__ void multiply(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n, int k) {
  __shared__ __align__(16) __nv_bfloat16 tiles_a[2][64][PITCH];
  __shared__ __align__(16) __nv_bfloat16 tiles_b[2][64][PITCH];
  const int first_row = blockIdx.y * 64, first_column = blockIdx.x * 64;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto fetch = [&](int tile) {
    if (tile * TILE_K < k)
      for (int i = threadIdx.x; i < 64 * TILE_K / 8; i += blockDim.x) {
        const int row = i / (TILE_K / 8), column = i % (TILE_K / 8) * 8;
        cp_async_16(&tiles_a[tile % 2][row][column], a + (first_row + row) * k + tile * TILE_K + column);
        cp_async_16(&tiles_b[tile % 2][row][column], b + (first_column + row) * k + tile * TILE_K + column);
      }
    cp_async_commit();
  };
  float sums[8][4] = {};
  fetch(0);
  for (int tile = 0; tile * TILE_K < k; ++tile) {
    fetch(tile + 1);
    cp_async_wait<FAULT == WEAK_WAIT ? 2 : 1>();
    __syncthreads();
    for (int step = 0; step < TILE_K; step += 16) {
      uint32_t left[4];
      const int shift = FAULT == MISALIGNED ? 1 : 0;
      ldmatrix_x4(left, &tiles_a[tile % 2][warp * 16 + lane % 16][step + lane / 16 * 8 + shift]);
      for (int pair = 0; pair < 4; ++pair) {
        uint32_t right[4];
        ldmatrix_x4(right, &tiles_b[tile % 2][pair * 16 + lane % 8 + lane / 16 * 8][step + lane / 8 % 2 * 8]);
        mma_bf16(sums[2 * pair], left, {right[0], right[1]});
        mma_bf16(sums[2 * pair + 1], left, {right[2], right[3]});
      }
    }
    if (FAULT != NO_TRAILING_BARRIER) __syncthreads();  // the next turn copies into this buffer
  }
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 4; ++j) {
      const int row = first_row + warp * 16 + lane / 4 + j / 2 * 8, column = first_column + i * 8 + 2 * (lane % 4) + j % 2;
      c[row * n + column] = sums[i][j];
    }
}

#define TEST_PRODUCT(name, fault)                                                                           \
  extern "C" __global__ void name(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n, int k) { \
    multiply<fault>(a, b, c, n, k);                                                                         \
  }
TEST_PRODUCT(test_product, NO_FAULT)
TEST_PRODUCT(test_product_weak_wait, WEAK_WAIT)
TEST_PRODUCT(test_product_no_trailing_barrier, NO_TRAILING_BARRIER)
TEST_PRODUCT(test_product_misaligned, MISALIGNED)
