// What all kernels share: numbers in groups that are one access to memory, sums over a block.
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

// Four numbers of 32 bits, one access to memory, and four of 16.
struct alignas(16) Four {
  float at[4];
};
struct alignas(8) FourHalves {
  bf16 at[4];
};

__device__ inline Four load_four(const float* from) { return *reinterpret_cast<const Four*>(from); }
__device__ inline void store_four(float* to, const Four& numbers) { *reinterpret_cast<Four*>(to) = numbers; }

// The sum over all threads of a block, the same to the bit in each of them. `scratch` holds 32 numbers. Every thread must come
// here; `scratch` may be used again at once.
template <class T>
__device__ T block_sum(T x, T* scratch) {
  for (int flipped = 16; flipped; flipped /= 2) x += __shfl_xor_sync(~0u, x, flipped);
  const int warps = blockDim.x / 32;
  if (warps == 1) return x;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = 0;
  for (int warp = 0; warp < warps; ++warp) sum += scratch[warp];
  __syncthreads();
  return sum;
}
