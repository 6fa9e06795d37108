// The words CUDA adds to C++, and the barrier of a block. Not here: `__shared__` (shared_memory.h).
#pragma once
#include "executor/executor.h"
#include "executor/fault.h"

// build.sh runs the preprocessor with a word of its own for `__global__`, to find the kernels of a source.
#ifndef __global__
#define __global__
#endif
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

#define threadIdx simt::thread_index
#define blockIdx simt::block_index
#define blockDim simt::block_size
#define gridDim simt::grid_size
constexpr int warpSize = 32;

// The places are those of the call: defaults are evaluated there.
inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  simt::wait_for_block({file, line});
}
// Threads run one at a time: memory is always consistent.
inline void __threadfence() {}
inline void __threadfence_block() {}
// Programmatic dependent launch, which CUDA offers as PTX assembly.
inline void let_next_begin() {}
inline void wait_for_previous(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  simt::wait_for_previous({file, line});
}

#undef assert
#define assert(condition) \
  ((condition) ? void() : simt::fault("device assertion", "`%s` at %s:%d", #condition, __FILE__, __LINE__))
