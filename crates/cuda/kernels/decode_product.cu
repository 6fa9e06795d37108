// Products of few rows with weights that are read once: `x W^T` of up to 64 rows in a step of decoding, where reading the
// weights is all the time that there is. A tile of 64 or 128 columns of all rows takes as many steps as `inner` has pieces of 64;
// the steps of all tiles, one after the other, are dealt out to the blocks in equal shares, so that all multiprocessors end
// together whatever the shape ("stream-K": Osama et al. 2023, arXiv 2301.03598). Of a tile that several blocks have parts of, the
// last one to come adds the parts up, in their order, and finishes the numbers. What a row becomes does not depend on the other
// rows, on how many there are, or on which block ends when.
// Not here: products of many rows, which are cuBLAS's (product.rs).
#include "activation.cuh"
#include "tensor_core.cuh"

constexpr int STEP = 64;    // of `inner`, that a stage holds
constexpr int STAGES = 4;   // on their way from memory
constexpr int CHUNKS = STEP / 8;  // of 16 bytes in a row of a stage

// What becomes of a sum.
enum Finish {
  ROUNDED = 0,   // + bias, in bf16
  ADDED = 1,     // in bf16, then + `residual` in bf16
  GATED = 2,     // of a pair of maps: silu(first) * second, each rounded between
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
  float* partials;     // `[blocks, 2, a thread's numbers, threads]`
  unsigned* arrived;   // `[tiles]`, zero before and after
  int rows, inner, tiles, finish;
  Map maps[3];
};

// Where a row's chunk is kept: turned by the row, so that the eight rows that `ldmatrix` reads lie in different banks.
__device__ inline int place(int row, int chunk) { return (row * CHUNKS + (chunk ^ row % CHUNKS)) * 8; }

// Rounds as what is stored in bf16 and read again.
__device__ inline float rounded(float x) { return __bfloat162float(__float2bfloat16(x)); }

// WARPS warps in DOWN groups of rows, one below the other; each makes 16 M rows and 8 N columns. Of a pair each warp has as many
// columns of both maps.
template <int WARPS, int DOWN, int M, int N, bool IS_PAIR>
struct Block {
  static constexpr int THREADS = 32 * WARPS, ASIDE = WARPS / DOWN;
  static constexpr int COLUMNS = 8 * N * ASIDE, ROWS = 16 * M * DOWN;
  static constexpr int STAGE = (ROWS + COLUMNS) * STEP;  // numbers
  static constexpr int APART = THREADS / CHUNKS;         // rows of a stage that a thread copies 16 bytes of lie so far apart
  static constexpr int ROW_COPIES = (ROWS + APART - 1) / APART, COLUMN_COPIES = COLUMNS / APART;
  static constexpr int OF_MAP = IS_PAIR ? COLUMNS / 2 : COLUMNS;  // columns of one map
  static_assert(COLUMNS % APART == 0 && N % 2 == 0 && (!IS_PAIR || APART % (8 * N) == 0), "");

  const Product& p;
  bf16* shared;
  int first_row;
  float sums[M][N][4];

  // Of the tile whose steps are being copied: what this thread copies, without the step.
  const bf16 *from_rows, *from_weights;
  bf16* to;
  int rows_left, columns_left;  // from its first ones on

  // Of a pair, a warp's columns of the first map stand before those of the second.
  __device__ static int own_column(int column) { return IS_PAIR ? column / (8 * N) * (4 * N) + column % (4 * N) : column; }
  __device__ static bool is_of_second(int column) { return IS_PAIR && column / (4 * N) % 2; }

  __device__ int steps() const { return (p.inner + STEP - 1) / STEP; }

  // A tile's columns: of one map, or of both of a pair.
  struct Tile {
    Map map;
    int first_column;
  };
  __device__ Tile tile_of(int tile) const {
    Map map = p.maps[0];
    if (!IS_PAIR) {
#pragma unroll
      for (int next = 1; next < 3; ++next) {
        const int tiles = (map.columns + OF_MAP - 1) / OF_MAP;
        if (tile < tiles) break;
        tile -= tiles;
        map = p.maps[next];
      }
    }
    return {map, tile * OF_MAP};
  }

  __device__ const bf16* weights_of(const Tile& tile, int column) const {
    const bf16* weight = is_of_second(column) ? p.maps[1].weight : tile.map.weight;
    return weight + int64_t(tile.first_column + own_column(column)) * p.inner;
  }

  // The steps that are copied next are of this tile.
  __device__ void aim(int at) {
    const Tile tile = tile_of(at);
    const int chunk = threadIdx.x % CHUNKS, line = threadIdx.x / CHUNKS;
    from_rows = p.x + int64_t(first_row + line) * p.inner + chunk * 8;
    from_weights = weights_of(tile, line) + chunk * 8;
    to = shared + place(line, chunk);
    rows_left = min(p.rows - first_row, ROWS) - line;
    columns_left = tile.map.columns - tile.first_column - own_column(line);
  }

  // Begins to copy the rows of a step of `inner`; what is not there becomes zero.
  __device__ void load_rows(int slot, int step) const {
    const bool is_inside = step * STEP + int(threadIdx.x % CHUNKS) * 8 < p.inner;
#pragma unroll
    for (int i = 0; i < ROW_COPIES; ++i)
      if (ROWS % APART == 0 || int(threadIdx.x) / CHUNKS + i * APART < ROWS)
        cp_async_16(to + slot * STAGE + i * APART * STEP, from_rows + (int64_t(i) * APART * p.inner + step * STEP),
                    is_inside && i * APART < rows_left ? 16 : 0);
  }

  // Likewise the weights.
  __device__ void load_weights(int slot, int step) const {
    const bool is_inside = step * STEP + int(threadIdx.x % CHUNKS) * 8 < p.inner;
#pragma unroll
    for (int i = 0; i < COLUMN_COPIES; ++i) {
      const int on = IS_PAIR ? i * APART / 2 : i * APART;  // as many columns of the map
      cp_async_16(to + slot * STAGE + (ROWS + i * APART) * STEP, from_weights + (int64_t(on) * p.inner + step * STEP),
                  is_inside && on < columns_left ? 16 : 0);
    }
  }

  __device__ void add_stage(int slot) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bf16* rows = shared + slot * STAGE + warp / ASIDE * (16 * M * STEP);
    const bf16* weights = shared + slot * STAGE + (ROWS + warp % ASIDE * (8 * N)) * STEP;
#pragma unroll
    for (int k = 0; k < CHUNKS; k += 2) {
      uint32_t left[M][4], right[N][2];
#pragma unroll
      for (int m = 0; m < M; ++m) ldmatrix_x4(left[m], rows + place(m * 16 + lane % 16, k + lane / 16));
#pragma unroll
      for (int n = 0; n < N; n += 2) {
        uint32_t both[4];
        ldmatrix_x4(both, weights + place(n * 8 + lane / 16 * 8 + lane % 8, k + lane / 8 % 2));
        right[n][0] = both[0], right[n][1] = both[1], right[n + 1][0] = both[2], right[n + 1][1] = both[3];
      }
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n) mma_bf16(sums[m][n], left[m], right[n]);
    }
  }

  // The block that has a step, of the steps of all tiles; each has as many as any other, to within one.
  __device__ int first_step(int block) const { return int(int64_t(p.tiles) * steps() * block / gridDim.x); }
  __device__ int block_of(int step) const { return int(((int64_t(step) + 1) * gridDim.x - 1) / (int64_t(p.tiles) * steps())); }

  // The block's steps, one tile after the other. The copies of a tile begin while the one before it is being finished; those of the
  // first weights, which no kernel writes, before the kernels ahead have ended.
  __device__ void run() {
    const int of_tile = steps(), first = first_step(blockIdx.x), n = first_step(blockIdx.x + 1) - first;
    int tile = first / of_tile, start = first % of_tile, step = start;
    int copied = 0, copied_tile = tile, copied_step = start;
    const auto go_on = [&] {
      ++copied;
      if (++copied_step == of_tile && copied < n) aim(++copied_tile), copied_step = 0;
    };
    clear();
    aim(tile);
#pragma unroll 1
    while (copied < min(n, STAGES - 1)) load_weights(copied, copied_step), go_on();
    wait_for_previous();
#pragma unroll 1
    for (int i = 0; i < STAGES - 1; ++i) {
      if (i < n) load_rows(i, (start + i) % of_tile);
      cp_async_commit();
    }
#pragma unroll 1
    for (int i = 0; i < n; ++i) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();  // the stage is there, and the one before it has been read by all
      if (copied < n) {
        load_rows(copied % STAGES, copied_step);
        load_weights(copied % STAGES, copied_step);
        go_on();
      }
      cp_async_commit();
      add_stage(i % STAGES);
      if (++step < of_tile && i + 1 < n) continue;
      settle(tile, start, step);
      clear();
      ++tile, start = step = 0;
    }
    cp_async_wait<0>();
  }

  __device__ void clear() {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[m][n][j] = 0;
  }

  // A part of a tile's sums: those of the block that has its first step are the second of that block, all others the first.
  __device__ float4& partial(int block, bool is_first, int m, int n) const {
    const int64_t of_part = ((int64_t(blockIdx.z) * gridDim.x + block) * 2 + is_first) * M * N;
    return reinterpret_cast<float4*>(p.partials)[(of_part + m * N + n) * THREADS + threadIdx.x];
  }

  // What becomes of the sums over steps `start` to `end` of a tile. Where other blocks have the rest, the last of them to come here
  // adds all parts up, in their order.
  __device__ void settle(int at, int start, int end) {
    const int of_tile = steps();
    const Tile tile = tile_of(at);
    float others[M][N][4];
    load_others(tile, others);
    if (start == 0 && end == of_tile) return finish(tile, others);
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
        partial(blockIdx.x, start == 0, m, n) = make_float4(sums[m][n][0], sums[m][n][1], sums[m][n][2], sums[m][n][3]);
    const int first = block_of(at * of_tile), last = block_of(at * of_tile + of_tile - 1);
    unsigned& arrived = p.arrived[blockIdx.z * p.tiles + at];
    __shared__ bool is_last;
    __syncthreads();
    if (threadIdx.x == 0) {
      is_last = count_arrival(&arrived) == unsigned(last - first);
      if (is_last) arrived = 0;
    }
    __syncthreads();
    if (!is_last) return;
    clear();
    constexpr int AT_ONCE = M * N < 8 ? 4 : 1;  // that many are waited for together
#pragma unroll AT_ONCE
    for (int block = first; block <= last; ++block)
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n) {
          const float4 own = partial(block, block == first, m, n);
          sums[m][n][0] += own.x, sums[m][n][1] += own.y, sums[m][n][2] += own.z, sums[m][n][3] += own.w;
        }
    finish(tile, others);
  }

  // The row and the column of this thread's sums: `[m][n][j]`, for j = 0 and 2; j + 1 is the column to the right. Of a pair, of
  // both sums that make a number.
  __device__ int row_of(int m, int j) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    return first_row + warp / ASIDE * (16 * M) + m * 16 + lane / 4 + j / 2 * 8;
  }
  __device__ int column_of(const Tile& tile, int n) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    return tile.first_column + warp % ASIDE * (IS_PAIR ? 4 * N : 8 * N) + n * 8 + lane % 4 * 2;
  }

  // What is added to each sum: a residual or a bias. Read before anything is written, since results may lie where a residual
  // does, and without a branch, so that all of it is waited for together: outside, the last ones are read.
  __device__ void load_others(const Tile& tile, float (&others)[M][N][4]) const {
    const bool is_residual = p.finish == ADDED;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int j = 0; j < 4; ++j) others[m][n][j] = 0;
    if (IS_PAIR || !(is_residual || tile.map.bias)) return;
    const bf16* from = is_residual ? p.residual : tile.map.bias;
    const int stride = is_residual ? tile.map.columns : 0;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          others[m][n][j] = __bfloat162float(
              from[int64_t(min(row_of(m, j), p.rows - 1)) * stride + min(column_of(tile, n) + j % 2, tile.map.columns - 1)]);
  }

  __device__ void finish(const Tile& tile, const float (&others)[M][N][4]) const {
    const int columns = tile.map.columns;
    const bool is_even = columns % 2 == 0;  // both columns of a thread are there, at an address of their size
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int j = 0; j < 4; j += 2) {
        const int row = row_of(m, j);
        if (row >= p.rows) continue;
        const int64_t of_row = int64_t(row) * columns;
#pragma unroll
        for (int n = 0; n < (IS_PAIR ? N / 2 : N); ++n) {
          const int column = column_of(tile, n);
          if (column >= columns) continue;
          float both[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const float sum = sums[m][n][j + i];
            if (IS_PAIR)
              both[i] = silu(rounded(sum)).value * rounded(sums[m][(n + N / 2) % N][j + i]);
            else
              both[i] = p.finish == IN_F32 ? sum : (p.finish == ADDED ? rounded(sum) : sum) + others[m][n][j + i];
          }
          if (p.finish == IN_F32) {
            float* out = static_cast<float*>(tile.map.out) + of_row + column;
            if (is_even)
              *reinterpret_cast<float2*>(out) = make_float2(both[0], both[1]);
            else
              for (int i = 0; i < 2 && column + i < columns; ++i) out[i] = both[i];
          } else {
            bf16* out = static_cast<bf16*>(tile.map.out) + of_row + column;
            if (is_even)
              *reinterpret_cast<uint32_t*>(out) = bf16_pair(both[0], both[1]);
            else
              for (int i = 0; i < 2 && column + i < columns; ++i) out[i] = __float2bfloat16(both[i]);
          }
        }
      }
  }
};

// Blocks have the steps of all tiles, as many each; and groups of rows. A tile is some columns of a map: one map's come after the
// other's.
template <class Own>
__device__ void product(const Product& p) {
  extern __shared__ __align__(16) unsigned char raw[];
  let_next_begin();
  Own own{p, reinterpret_cast<bf16*>(raw), int(blockIdx.z) * Own::ROWS};
  own.run();
}

#define KERNEL(NAME, WARPS, DOWN, M, N, IS_PAIR)                                                                         \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, 2)                                                            \
      NAME(const bf16* x, const bf16* residual, float* partials, unsigned* arrived, int rows, int inner, int tiles,      \
           int finish, const bf16* weight_0, const bf16* bias_0, void* out_0, int columns_0, const bf16* weight_1,       \
           const bf16* bias_1, void* out_1, int columns_1, const bf16* weight_2, const bf16* bias_2, void* out_2,        \
           int columns_2) {                                                                                              \
    const Map first{weight_0, bias_0, out_0, columns_0}, second{weight_1, bias_1, out_1, columns_1};                     \
    const Map third{weight_2, bias_2, out_2, columns_2};                                                                 \
    product<Block<WARPS, DOWN, M, N, IS_PAIR>>(                                                                          \
        {x, residual, partials, arrived, rows, inner, tiles, finish, {first, second, third}});                           \
  }

// Of 16, 32 and 64 rows: 64 columns, 128, and 64 of each map of a pair.
KERNEL(decode_product_16_narrow, 4, 1, 1, 2, false)
KERNEL(decode_product_32_narrow, 8, 2, 1, 2, false)
KERNEL(decode_product_64_narrow, 8, 2, 2, 2, false)
KERNEL(decode_product_16_wide, 8, 1, 1, 2, false)
KERNEL(decode_product_32_wide, 8, 2, 1, 4, false)
KERNEL(decode_product_64_wide, 8, 2, 2, 4, false)
KERNEL(decode_product_16_pair, 8, 1, 1, 2, true)
KERNEL(decode_product_32_pair, 8, 2, 1, 4, true)
KERNEL(decode_product_64_pair, 8, 2, 2, 4, true)
