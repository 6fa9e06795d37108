// Tensor cores, `ldmatrix` and `cp.async` of compute capability 8.0 and up, and the fast exponential: names for PTX assembly.
// Layouts of fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "ldmatrix".
// Not here: tiles (attention.cuh).
#pragma once
#include "common.cuh"

#ifdef CUDA_EMULATOR
// The emulated device has functions of these names.
__device__ inline float fast_exp2(float x) { return exp2f(x); }
#else

__device__ inline unsigned shared_address(const void* at) { return unsigned(__cvta_generic_to_shared(at)); }

// d += a * b, 16 x 8 += 16 x 16 * 16 x 8, by a whole warp.
__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices, of whose rows each lane names one.
__device__ inline void ldmatrix_x4(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row)));
}
__device__ inline void ldmatrix_x4_trans(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row)));
}

// Copies 16 (4) bytes to shared memory in the background; what is not read becomes zero.
__device__ inline void cp_async_16(void* to, const void* from, unsigned bytes_read) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes_read) : "memory");
}
__device__ inline void cp_async_4(void* to, const void* from, unsigned bytes_read) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes_read) : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All groups of this thread but the last N are there.
template <int N> __device__ inline void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// 2^x within two units of the last place; what would be denormal is zero.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// Two numbers as a fragment holds them, the first one low.
__device__ inline uint32_t bf16_pair(float low, float high) {
  return uint32_t(__bfloat16_as_ushort(__float2bfloat16(low))) | uint32_t(__bfloat16_as_ushort(__float2bfloat16(high))) << 16;
}
