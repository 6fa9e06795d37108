// Kernels of the emulator's tests: sums over rows through shared memory and shuffles, right and with planted faults.
// Not here: tensor cores and cp.async (test_products.cu); who launches them (cases.cpp).
#include <cuda_bf16.h>

// Which part is left out. With NOTHING the kernel is right.
enum LeftOut { NOTHING, BARRIER_BEFORE_TREE, BARRIER_IN_TREE, TRAILING_BARRIER };

// out[row] = sum of the row's `width` numbers; a block does the rows blockIdx.x, blockIdx.x + gridDim.x, ...
template <LeftOut OUT> __device__ void sum_rows(const float* x, float* out, int n_rows, int width) {
  __shared__ float partial[256];
  for (int row = blockIdx.x; row < n_rows; row += gridDim.x) {
    float sum = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += x[row * width + i];
    partial[threadIdx.x] = sum;
    if (OUT != BARRIER_BEFORE_TREE) __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
      if (OUT != BARRIER_IN_TREE || half == 1) __syncthreads();
    }
    if (threadIdx.x == blockDim.x - 1) out[row] = partial[0];
    if (OUT != TRAILING_BARRIER) __syncthreads();  // `partial` is written again for the next row
  }
}

extern "C" __global__ void test_sum_rows(const float* x, float* out, int n_rows, int width) {
  sum_rows<NOTHING>(x, out, n_rows, width);
}
extern "C" __global__ void test_sum_rows_no_barrier_before_tree(const float* x, float* out, int n_rows, int width) {
  sum_rows<BARRIER_BEFORE_TREE>(x, out, n_rows, width);
}
extern "C" __global__ void test_sum_rows_no_barrier_in_tree(const float* x, float* out, int n_rows, int width) {
  sum_rows<BARRIER_IN_TREE>(x, out, n_rows, width);
}
extern "C" __global__ void test_sum_rows_no_trailing_barrier(const float* x, float* out, int n_rows, int width) {
  sum_rows<TRAILING_BARRIER>(x, out, n_rows, width);
}

// Reads a neighbour's number from shared memory within a warp: lanes need `__syncwarp` for that.
template <bool SYNC> __device__ void rotate(const float* x, float* out) {
  extern __shared__ float mine[];
  mine[threadIdx.x] = x[threadIdx.x];
  if (SYNC) __syncwarp();
  const int warp = threadIdx.x / 32 * 32;
  out[threadIdx.x] = mine[warp + (threadIdx.x + 1) % 32];
}
extern "C" __global__ void test_rotate(const float* x, float* out) { rotate<true>(x, out); }
extern "C" __global__ void test_rotate_no_syncwarp(const float* x, float* out) { rotate<false>(x, out); }

// One number a warp: shuffles in halves of 16, both halves at once with masks of their own, votes, and lanes that have ended.
extern "C" __global__ void test_warp_operations(const int* x, int* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
  if (i >= n) return;  // the last warp is not full
  const int n_lanes = min(32, n - (i - lane));
  const unsigned alive = n_lanes == 32 ? ~0u : (1u << n_lanes) - 1;
  const unsigned mask = alive & (lane < 16 ? 0xffffu : 0xffff0000u);
  int sum = x[i];
  for (int flipped = 8; flipped; flipped /= 2) sum += __shfl_xor_sync(mask, sum, flipped, 16);
  const int first = __shfl_sync(alive, x[i], 0);
  const int before = __shfl_up_sync(alive, x[i], 1);
  const unsigned odd = __ballot_sync(alive, x[i] % 2);
  const bool any = __any_sync(alive, x[i] < 0), all = __all_sync(alive, x[i] >= 0);
  out[i] = sum + 1000 * first + 7 * before + __popc(odd) + 100000 * any + 200000 * all;
}

extern "C" __global__ void test_lane_outside_mask(float* x) { x[threadIdx.x] = __shfl_sync(0xffffu, x[threadIdx.x], 0); }

extern "C" __global__ void test_different_masks(float* x) {
  x[threadIdx.x] = __shfl_sync(threadIdx.x % 32 < 16 ? ~0u : 0xffff0000u, x[threadIdx.x], 16);
}

extern "C" __global__ void test_divergent_barrier(float* x) {
  if (threadIdx.x < 32) {
    x[threadIdx.x] += 1;
    __syncthreads();
  } else {
    x[threadIdx.x] += 2;
    __syncthreads();
  }
}

// Half a warp waits for the other half, which waits at the block's barrier.
extern "C" __global__ void test_shuffle_in_a_branch(float* x) {
  float value = x[threadIdx.x];
  if (threadIdx.x % 32 < 16) value += __shfl_xor_sync(~0u, value, 1);
  __syncthreads();
  x[threadIdx.x] = value;
}

// Every element: out = factor * in + term. `first` moves the window, which tests push over an allocation's ends.
extern "C" __global__ void test_affine(const float* in, float* out, float factor, float term, int first, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = factor * in[first + i] + term;
}
extern "C" __global__ void test_write(float* out, int first, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[first + i] = 1;
}

// Adds in bf16 what was never written to shared memory if `initialise` is 0.
extern "C" __global__ void test_shared_start(float* out, int initialise) {
  __shared__ __nv_bfloat16 total[1];
  if (initialise && threadIdx.x == 0) total[0] = __float2bfloat16(0.0f);
  __syncthreads();
  if (threadIdx.x == 0) out[0] = __bfloat162float(total[0] + __float2bfloat16(1.5f));
}

extern "C" __global__ void test_large_shared(float* out) {
  __shared__ float block[11 << 10];  // 44 KB
  extern __shared__ float more[];
  block[threadIdx.x] = 1;
  more[threadIdx.x] = 2;
  __syncthreads();
  out[threadIdx.x] = block[threadIdx.x] + more[threadIdx.x];
}

extern "C" __global__ void test_assertion(const float* x, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) assert(x[i] >= 0);
}

#ifndef CUDA_EMULATOR
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#endif

// Add `term` to what is there: behind the wait for the kernels ahead; with a read before it; with threads that do not come to it.
extern "C" __global__ void test_add_early(float* x, float term) {
  wait_for_previous();
  x[threadIdx.x] += term;
}
extern "C" __global__ void test_add_too_early(float* x, float term) {
  const float sum = x[threadIdx.x] + term;
  wait_for_previous();
  x[threadIdx.x] = sum;
}
extern "C" __global__ void test_add_no_wait(float* x, float term) {
  if (threadIdx.x % 2) return;
  wait_for_previous();
  x[threadIdx.x] += term;
}
