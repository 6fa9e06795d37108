// Products of few rows with weights that are read once: `x W^T` of up to 64 rows in a step of decoding, where reading the
// weights is all the time that there is. A block makes 64 or 128 columns of all rows, of all of `inner` or of one of several
// ranges of it; the last block of some columns to end adds the ranges up, in their order, and finishes the numbers. What a row
// becomes does not depend on the other rows, on how many there are, or on which block ends when.
// Not here: products of many rows, which are cuBLAS's (product.rs).
#include "activation.cuh"
#include "tensor_core.cuh"

constexpr int THREADS = 128;
constexpr int STEP = 64;    // of `inner`, that a stage holds
constexpr int STAGES = 4;   // on their way from memory
constexpr int CHUNKS = STEP / 8;  // of 16 bytes in a row of a stage

// What becomes of a sum.
enum Finish {
  ROUNDED = 0,   // + bias, in bf16
  ADDED = 1,     // in bf16, then + `residual` in bf16
  GATED = 2,     // columns come in pairs, of the first map and of the second: silu(first) * second, each rounded between
  IN_F32 = 3,    // as it is
};

// One of the maps of the same rows.
struct Map {
  const bf16* weight;  // `[columns, inner]`
  const bf16* bias;    // `[columns]` or none
  void* out;           // `[rows, columns]`
  int columns;
};

struct Product {
  const bf16* x;  // `[rows, inner]`
  const bf16* residual;
  float* partials;     // a block's sums, `[tile, range, thread's number]`
  unsigned* arrived;   // `[tile]`, zero before and after
  int rows, inner, ranges, finish;
  Map maps[3];
};

// Where a row's chunk is kept: turned by the row, so that the eight rows that `ldmatrix` reads lie in different banks.
__device__ inline int place(int row, int chunk) { return (row * CHUNKS + (chunk ^ row % CHUNKS)) * 8; }

// Rounds as what is stored in bf16 and read again.
__device__ inline float rounded(float x) { return __bfloat162float(__float2bfloat16(x)); }

// M times 16 rows, N times 32 columns: a warp makes 8 N of them.
template <int M, int N>
struct Block {
  static constexpr int COLUMNS = 32 * N, ROWS = 16 * M;
  static constexpr int STAGE = (ROWS + COLUMNS) * STEP;  // numbers

  const Product& p;
  Map map;             // the first of a pair
  const bf16* second;  // the weight of the other
  int first_row, first_column;  // of the map's own columns
  int tile;
  bf16* shared;
  float sums[M][N][4];

  // The column of its map that a column of the block is, and the map's weight. Of a pair each warp has as many of both.
  __device__ int own_column(int column) const {
    if (p.finish != GATED) return first_column + column;
    return first_column + column / (8 * N) * (4 * N) + column % (4 * N);
  }
  __device__ const bf16* own_weight(int column) const {
    return p.finish == GATED && column / (4 * N) % 2 ? second : map.weight;
  }

  // Begins to copy the stage from `start` of `inner` on; what is not there becomes zero.
  __device__ void load(int slot, int start, int end) const {
    bf16* rows = shared + slot * STAGE;
    bf16* weights = rows + ROWS * STEP;
    const int chunk = threadIdx.x % CHUNKS, inner = start + chunk * 8;
    const bool is_inside = inner < end;
#pragma unroll
    for (int row = threadIdx.x / CHUNKS; row < ROWS; row += THREADS / CHUNKS) {
      const bool is_there = is_inside && first_row + row < p.rows;
      const bf16* from = is_there ? p.x + int64_t(first_row + row) * p.inner + inner : p.x;
      cp_async_16(rows + place(row, chunk), from, is_there ? 16 : 0);
    }
#pragma unroll
    for (int column = threadIdx.x / CHUNKS; column < COLUMNS; column += THREADS / CHUNKS) {
      const int own = own_column(column);
      const bool is_there = is_inside && own < map.columns;
      const bf16* weight = own_weight(column);
      cp_async_16(weights + place(column, chunk), is_there ? weight + int64_t(own) * p.inner + inner : weight, is_there ? 16 : 0);
    }
  }

  __device__ void add_stage(int slot) {
    const bf16* rows = shared + slot * STAGE;
    const bf16* weights = rows + ROWS * STEP;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int k = 0; k < CHUNKS; k += 2) {
      uint32_t left[M][4], right[N][2];
#pragma unroll
      for (int m = 0; m < M; ++m) ldmatrix_x4(left[m], rows + place(m * 16 + lane % 16, k + lane / 16));
#pragma unroll
      for (int n = 0; n < N; n += 2) {
        uint32_t both[4];
        const int column = warp * 8 * N + n * 8 + lane / 16 * 8 + lane % 8;
        ldmatrix_x4(both, weights + place(column, k + lane / 8 % 2));
        right[n][0] = both[0], right[n][1] = both[1], right[n + 1][0] = both[2], right[n + 1][1] = both[3];
      }
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n) mma_bf16(sums[m][n], left[m], right[n]);
    }
  }

  // Sums over this block's range of `inner`, in steps.
  __device__ void add_up() {
    const int steps = (p.inner + STEP - 1) / STEP, range = blockIdx.y;
    const int first = steps * range / p.ranges, count = steps * (range + 1) / p.ranges - first;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[m][n][j] = 0;
#pragma unroll
    for (int step = 0; step < STAGES - 1; ++step) {
      if (step < count) load(step, (first + step) * STEP, p.inner);
      cp_async_commit();
    }
    for (int step = 0; step < count; ++step) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();  // the stage is there, and the one before it has been read by all
      const int next = step + STAGES - 1;
      if (next < count) load(next % STAGES, (first + next) * STEP, p.inner);
      cp_async_commit();
      add_stage(step % STAGES);
    }
    cp_async_wait<0>();
  }

  // Adds up the ranges, if this block is the last one of its columns; whether it is.
  __device__ bool gather() {
    if (p.ranges == 1) return true;
    constexpr int NUMBERS = M * N * 4;
    float* of_tile = p.partials + int64_t(tile) * p.ranges * NUMBERS * THREADS + threadIdx.x;
    const auto at = [&](int range, int number) -> float& { return of_tile[(range * NUMBERS + number) * THREADS]; };
#pragma unroll
    for (int i = 0; i < NUMBERS; ++i) at(blockIdx.y, i) = sums[i / 4 / N][i / 4 % N][i % 4];
    __threadfence();
    __shared__ unsigned earlier;
    __syncthreads();
    if (threadIdx.x == 0) earlier = atomicAdd(p.arrived + tile, 1u);
    __syncthreads();
    if (earlier != unsigned(p.ranges) - 1) return false;
    __threadfence();
    if (threadIdx.x == 0) p.arrived[tile] = 0;
#pragma unroll
    for (int i = 0; i < NUMBERS; ++i) sums[i / 4 / N][i / 4 % N][i % 4] = at(0, i);
    for (int range = 1; range < p.ranges; ++range)
#pragma unroll
      for (int i = 0; i < NUMBERS; ++i) sums[i / 4 / N][i / 4 % N][i % 4] += at(range, i);
    return true;
  }

  __device__ void store(int row, int column, float sum) const {
    const int64_t at = int64_t(row) * map.columns + column;
    switch (p.finish) {
      case IN_F32: static_cast<float*>(map.out)[at] = sum; break;
      case ADDED:
        static_cast<bf16*>(map.out)[at] = __float2bfloat16(__bfloat162float(p.residual[at]) + rounded(sum));
        break;
      default:
        if (map.bias) sum += __bfloat162float(map.bias[column]);
        static_cast<bf16*>(map.out)[at] = __float2bfloat16(sum);
    }
  }

  __device__ void finish() const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = first_row + m * 16 + lane / 4 + j / 2 * 8;
        if (row >= p.rows) continue;
        const int within = lane % 4 * 2 + j % 2;  // of eight columns
        if (p.finish == GATED) {
#pragma unroll
          for (int n = 0; n < N / 2; ++n) {
            const int column = first_column + warp * 4 * N + n * 8 + within;
            if (column >= map.columns) continue;
            const float gate = rounded(sums[m][n][j]), up = rounded(sums[m][n + N / 2][j]);
            static_cast<bf16*>(map.out)[int64_t(row) * map.columns + column] = __float2bfloat16(silu(gate).value * up);
          }
        } else {
#pragma unroll
          for (int n = 0; n < N; ++n) {
            const int column = first_column + warp * 8 * N + n * 8 + within;
            if (column < map.columns) store(row, column, sums[m][n][j]);
          }
        }
      }
  }
};

// Blocks: tiles of columns, one map's after the other's; ranges of `inner`; groups of 16 M rows.
template <int M, int N>
__device__ void product(const Product& p) {
  extern __shared__ __align__(16) unsigned char raw[];
  using Own = Block<M, N>;
  const int width = p.finish == GATED ? Own::COLUMNS / 2 : Own::COLUMNS;
  int tile = blockIdx.x;
  Map map = p.maps[0];
  if (p.finish != GATED) {
#pragma unroll
    for (int next = 1; next < 3; ++next) {
      const int tiles = (map.columns + width - 1) / width;
      if (tile < tiles) break;
      tile -= tiles;
      map = p.maps[next];
    }
  }
  const int of_all = blockIdx.z * gridDim.x + blockIdx.x;
  Own own{p, map, p.maps[1].weight, int(blockIdx.z) * Own::ROWS, tile * width, of_all, reinterpret_cast<bf16*>(raw), {}};
  own.add_up();
  if (own.gather()) own.finish();
}

#define KERNEL(NAME, M, N)                                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                  \
      NAME(const bf16* x, const bf16* residual, float* partials, unsigned* arrived, int rows, int inner, int ranges,     \
           int finish, const bf16* weight_0, const bf16* bias_0, void* out_0, int columns_0, const bf16* weight_1,       \
           const bf16* bias_1, void* out_1, int columns_1, const bf16* weight_2, const bf16* bias_2, void* out_2,        \
           int columns_2) {                                                                                              \
    const Map first{weight_0, bias_0, out_0, columns_0}, second{weight_1, bias_1, out_1, columns_1};                     \
    const Map third{weight_2, bias_2, out_2, columns_2};                                                                 \
    product<M, N>({x, residual, partials, arrived, rows, inner, ranges, finish, {first, second, third}});                \
  }

KERNEL(decode_product_16_64, 1, 2)
KERNEL(decode_product_32_64, 2, 2)
KERNEL(decode_product_64_64, 4, 2)
KERNEL(decode_product_16_128, 1, 4)
KERNEL(decode_product_32_128, 2, 4)
KERNEL(decode_product_64_128, 4, 4)
