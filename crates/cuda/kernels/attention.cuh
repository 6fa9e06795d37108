// What the kernels of attention share: the tables of tiles, rows of one head in registers and in shared memory, and products of
// a warp's 16 rows with them. Four warps of 16 rows make a block; D is the head's dimension rounded up to a multiple of 16, with
// zeros behind the head's own columns.
// Not here: the kernels (attention_forward.cu, attention_backward.cu), who makes the tables (attention_tiles.rs).
#pragma once
#include "tensor_core.cuh"

constexpr int THREADS = 128;
constexpr int TILE = 64;  // rows of a block
// Scores are kept in base 2, for 2^x rather than e^x.
constexpr float LOG2_E = 1.4426950408889634f;

// Up to 64 queries of one segment, and the keys they see: those of the segment's prompt, then the segment's own.
struct QueryTile {
  int row, n_rows;         // of the queries
  int prompt, n_prompt;    // the prompt's rows; none for a prompt's own queries
  int own;                 // the segment's first row
  int n_keys;              // of prompt and segment together, as far as any of the queries sees

  // The keys counted from 0, the prompt's first.
  __device__ int key_row(int key) const { return key < n_prompt ? prompt + key : own + key - n_prompt; }
  // How many of them the query at `row` sees.
  __device__ int visible(int row, bool causal) const { return causal ? min(n_keys, n_prompt + row - own + 1) : n_keys; }
};

// Up to 64 keys of one segment, and a range of rows that holds all queries which see them, or a part of it.
struct KeyTile {
  int row, n_rows;
  int query, query_end;
  int part;  // where the range's share of the gradient is kept until it is added up; negative where there is one range
};

// The shares of the gradient of a tile that has several.
struct SplitTile {
  int row, n_rows;
  int part, n_parts;
};

// The tensors of one head: `[T, heads, head_dim]` from its first number on.
struct Rows {
  const bf16* at;
  int64_t stride;
  int columns;
  __device__ Rows(const bf16* all, int heads, int head, int columns)
      : at(all + int64_t(head) * columns), stride(int64_t(heads) * columns), columns(columns) {}
};

// Rows in shared memory. Sixteen bytes between them let the eight rows of a matrix lie in different banks.
template <int D> constexpr int PITCH = D + 8;
template <int D, int N> constexpr int TILE_NUMBERS = N * PITCH<D>;

// Begins to copy N rows, of which `n_rows` are there, to shared memory; `row_of` says where each one is.
template <int D, int N, class RowOf> __device__ void copy_rows(bf16* to, const Rows& from, int n_rows, const RowOf& row_of) {
  constexpr int PER_ROW = D / 8;
#pragma unroll
  for (int first = 0; first < N * PER_ROW; first += THREADS) {
    const int i = first + threadIdx.x;
    if (N * PER_ROW % THREADS && i >= N * PER_ROW) break;
    const int row = i / PER_ROW, column = i % PER_ROW * 8;
    const bool is_there = row < n_rows && column < from.columns;
    const bf16* source = is_there ? from.at + row_of(row) * from.stride + column : from.at;
    cp_async_16(to + row * PITCH<D> + column, source, is_there ? 16 : 0);
  }
}

// What lies where in the registers of a product's result: lane = 4 * group + member has rows group and group + 8, and columns
// 2 * member and 2 * member + 1, of each 16 x 8 piece.
__device__ inline int lane_row() { return threadIdx.x % 32 / 4; }
__device__ inline int lane_column() { return threadIdx.x % 4 * 2; }

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ inline float low_of(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_of(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// Left operands of 16 rows: for every 16 columns, rows group and group + 8 of columns 2 * member, the same of 2 * member + 8.
// From global memory: rows `row` to `row + 15`, of which those below `end` are there.
template <int D> __device__ void load_left(uint32_t (&out)[D / 16][4], const Rows& from, int row, int end) {
#pragma unroll
  for (int i = 0; i < D / 16; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int r = row + lane_row() + j % 2 * 8, column = i * 16 + lane_column() + j / 2 * 8;
      const bool is_there = r < end && column < from.columns;
      out[i][j] = is_there ? *reinterpret_cast<const uint32_t*>(from.at + r * from.stride + column) : 0;
    }
}
// From shared memory.
template <int D> __device__ void load_left(uint32_t (&out)[D / 16][4], const bf16* rows) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < D / 16; ++i) ldmatrix_x4(out[i], rows + lane % 16 * PITCH<D> + i * 16 + lane / 16 * 8);
}
// From the results of a product with N columns.
template <int N> __device__ void to_left(uint32_t (&out)[N / 16][4], const float (&product)[N / 8][4]) {
#pragma unroll
  for (int i = 0; i < N / 16; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) out[i][j] = pack(product[2 * i + j / 2][j % 2 * 2], product[2 * i + j / 2][j % 2 * 2 + 1]);
}

// out[16][N] += left[16][D] rows[N][D]^T
template <int D, int N>
__device__ void multiply_transposed(float (&out)[N / 8][4], const uint32_t (&left)[D / 16][4], const bf16* rows) {
  const int lane = threadIdx.x % 32;
  rows += (lane % 8 + lane / 16 * 8) * PITCH<D> + lane / 8 % 2 * 8;
#pragma unroll
  for (int i = 0; i < D / 16; ++i)
#pragma unroll
    for (int j = 0; j < N / 16; ++j) {
      uint32_t right[4];
      ldmatrix_x4(right, rows + j * 16 * PITCH<D> + i * 16);
      mma_bf16(out[2 * j], left[i], {right[0], right[1]});
      mma_bf16(out[2 * j + 1], left[i], {right[2], right[3]});
    }
}

// out[16][D] += left[16][N] rows[N][D]
template <int D, int N>
__device__ void multiply(float (&out)[D / 8][4], const uint32_t (&left)[N / 16][4], const bf16* rows) {
  const int lane = threadIdx.x % 32;
  rows += lane % 16 * PITCH<D> + lane / 16 * 8;
#pragma unroll
  for (int i = 0; i < N / 16; ++i)
#pragma unroll
    for (int j = 0; j < D / 16; ++j) {
      uint32_t right[4];
      ldmatrix_x4_trans(right, rows + i * 16 * PITCH<D> + j * 16);
      mma_bf16(out[2 * j], left[i], {right[0], right[1]});
      mma_bf16(out[2 * j + 1], left[i], {right[2], right[3]});
    }
}

// Writes a warp's 16 rows, of which `n_rows` are there, times a factor for rows group and group + 8.
template <int D>
__device__ void store_rows(bf16* to, int64_t stride, int columns, int n_rows, const float (&rows)[D / 8][4], float low, float high) {
#pragma unroll
  for (int i = 0; i < D / 8; ++i) {
    if (i * 8 >= columns) continue;
    const int column = i * 8 + lane_column();
    if (lane_row() < n_rows)
      *reinterpret_cast<uint32_t*>(to + lane_row() * stride + column) = pack(rows[i][0] * low, rows[i][1] * low);
    if (lane_row() + 8 < n_rows)
      *reinterpret_cast<uint32_t*>(to + (lane_row() + 8) * stride + column) = pack(rows[i][2] * high, rows[i][3] * high);
  }
}

// Over the four lanes that share a row.
__device__ inline float sum_of_row(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}
__device__ inline float largest_of_row(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
