// What all kernels share: bf16 in groups of eight, sums over a block, and the names of tensor-core instructions.
// Not here: any kernel.
#pragma once
#include <cstdint>
#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

// Eight numbers of 16 bits, one access to memory.
struct alignas(16) Eight {
  bf16 at[8];
};

__device__ inline Eight load_eight(const bf16* from) { return *reinterpret_cast<const Eight*>(from); }
__device__ inline void store_eight(bf16* to, const Eight& numbers) { *reinterpret_cast<Eight*>(to) = numbers; }

// The sum over all threads of a block, the same to the bit in each of them. `scratch` holds 32 numbers. Every thread must come
// here; `scratch` may be used again at once.
__device__ inline float block_sum(float x, float* scratch) {
  for (int flipped = 16; flipped; flipped /= 2) x += __shfl_xor_sync(~0u, x, flipped);
  const int warps = blockDim.x / 32;
  if (warps == 1) return x;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < warps; ++warp) sum += scratch[warp];
  __syncthreads();
  return sum;
}
