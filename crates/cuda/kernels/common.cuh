// What all kernels share: numbers in groups that are one access to memory, sums over a block.
// Not here: any kernel.
#pragma once
#include <cstdint>
#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

#ifndef CUDA_EMULATOR
// Programmatic dependent launch (PTX ISA, `griddepcontrol`), of compute capability 9.0 and up: a kernel launched so may begin
// before those ahead of it have ended. Until `wait_for_previous` it reads nothing that a kernel writes, and writes nothing.
// Both do nothing in other launches.
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Every thread of every block comes here, also where it has nothing to do: what comes after a kernel relies on it for all
// kernels ahead of it.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Counts a block that has written what it had to, by one of its threads behind a barrier: how many have been counted before. What
// those have written can be read from then on, by the others behind another barrier.
__device__ inline unsigned count_arrival(unsigned* arrived) {
  unsigned before;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(arrived) : "memory");
  return before;
}
#endif

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
__device__ inline Four load_four(const bf16* from) {
  const FourHalves halves = *reinterpret_cast<const FourHalves*>(from);
  Four numbers;
  for (int j = 0; j < 4; ++j) numbers.at[j] = __bfloat162float(halves.at[j]);
  return numbers;
}
__device__ inline void store_four(float* to, const Four& numbers) { *reinterpret_cast<Four*>(to) = numbers; }

// One number, rounded where it has 16 bits.
__device__ inline void store_one(float* to, float x) { *to = x; }
__device__ inline void store_one(bf16* to, float x) { *to = __float2bfloat16(x); }

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
