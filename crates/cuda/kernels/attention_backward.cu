// The gradients of softmax attention within the segments of a packed stream, without atomics: one kernel for those of the queries,
// a block a tile of queries; one for those of keys and values, a block a tile of keys, or a share of the queries that see it.
// With weights p = 2^(scale_2 * q k - lse), again from the saved `lse`, and slopes s = p * (grad v - sum of grad * out):
// dq = scale * s k, dk = scale * s^T q, dv = p^T grad; p and s rounded to bf16 before the products.
// Not here: the forward pass (attention_forward.cu).
#include "attention.cuh"

// Blocks for which a multiprocessor has registers; with room for more of them some kernel would spill.
template <int D> constexpr int BLOCKS = D > 80 ? 2 : 3;

// Rows per turn of the other side: keys where a block has queries, queries where it has keys. Two products of 64 columns at once
// would not fit into the registers.
constexpr int STEP = 32;

struct Shape {
  int tokens, heads, kv_heads, columns;
};

// A block a tile of queries and a head. Writes `dq`, and `along` [heads, T]: per query, the sum of grad * out.
template <int D>
__device__ void backward_queries(const bf16* q, const bf16* k, const bf16* v, const bf16* out, const bf16* grad, const float* lse,
                                 float* along, bf16* dq, const QueryTile* tiles, Shape shape, bool causal, float scale) {
  extern __shared__ float shared[];
  bf16* buffers = reinterpret_cast<bf16*>(shared);  // two of a turn's keys and values
  constexpr int NUMBERS = TILE_NUMBERS<D, STEP>;
  const int head = blockIdx.x, kv_head = head / (shape.heads / shape.kv_heads);
  const QueryTile tile = tiles[blockIdx.y];
  const Rows keys(k, shape.kv_heads, kv_head, shape.columns), values(v, shape.kv_heads, kv_head, shape.columns);
  auto copy = [&](int first) {
    bf16* to = buffers + first / STEP % 2 * 2 * NUMBERS;
    auto row_of = [&](int i) { return tile.key_row(first + i); };
    copy_rows<D, STEP>(to, keys, tile.n_keys - first, row_of);
    copy_rows<D, STEP>(to + NUMBERS, values, tile.n_keys - first, row_of);
    cp_async_commit();
  };
  copy(0);

  const int row = tile.row + threadIdx.x / 32 * 16, end = tile.row + tile.n_rows;
  const Rows queries(q, shape.heads, head, shape.columns);
  uint32_t left[D / 16][4], grads[D / 16][4];
  load_left<D>(grads, Rows(out, shape.heads, head, shape.columns), row, end);
  load_left<D>(left, Rows(grad, shape.heads, head, shape.columns), row, end);
  // Of rows group and group + 8.
  float sum[2] = {}, base[2] = {};
#pragma unroll
  for (int i = 0; i < D / 16; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      sum[j % 2] += low_of(grads[i][j]) * low_of(left[i][j]) + high_of(grads[i][j]) * high_of(left[i][j]);
      grads[i][j] = left[i][j];
    }
  load_left<D>(left, queries, row, end);
  for (int half = 0; half < 2; ++half) {
    sum[half] = sum_of_row(sum[half]);
    const int r = row + lane_row() + half * 8;
    if (r >= end) continue;
    const int64_t at = int64_t(head) * shape.tokens + r;
    base[half] = lse[at];
    if (threadIdx.x % 4 == 0) along[at] = sum[half];
  }
  const int visible[2] = {tile.visible(row + lane_row(), causal), tile.visible(row + lane_row() + 8, causal)};
  const int visible_to_all = tile.visible(row, causal);
  float sums[D / 8][4] = {};
  for (int first = 0; first < tile.n_keys; first += STEP) {
    cp_async_wait<0>();
    __syncthreads();  // this turn's keys are there, and nobody reads the last one's
    if (first + STEP < tile.n_keys) copy(first + STEP);
    const bf16* step_keys = buffers + first / STEP % 2 * 2 * NUMBERS;
    float scores[STEP / 8][4] = {}, slopes[STEP / 8][4] = {};
    multiply_transposed<D, STEP>(scores, left, step_keys);
    multiply_transposed<D, STEP>(slopes, grads, step_keys + NUMBERS);
    const bool all_seen = first + STEP <= visible_to_all;
#pragma unroll
    for (int i = 0; i < STEP / 8; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool is_seen = all_seen || first + i * 8 + lane_column() + j % 2 < visible[j / 2];
        const float weight = is_seen ? fast_exp2(scores[i][j] * (scale * LOG2_E) - base[j / 2]) : 0;
        slopes[i][j] = weight * (slopes[i][j] - sum[j / 2]);
      }
    uint32_t rounded[STEP / 16][4];
    to_left<STEP>(rounded, slopes);
    multiply<D, STEP>(sums, rounded, step_keys);
  }
  store_rows<D>(dq + row * queries.stride + head * shape.columns, queries.stride, shape.columns, end - row, sums, scale, scale);
}

// Where the gradients of keys and values go: bf16 as keys and values are, and the shares of tiles that have several, f32
// [parts, kv_heads, 64, columns].
struct KeyGradients {
  bf16 *dk, *dv;
  float *dk_parts, *dv_parts;
};

template <int D> __device__ void store_part(float* to, int columns, const float (&rows)[D / 8][4], float factor) {
#pragma unroll
  for (int i = 0; i < D / 8; ++i) {
    if (i * 8 >= columns) continue;
    float* at = to + lane_row() * columns + i * 8 + lane_column();
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<float2*>(at + half * 8 * columns) = make_float2(rows[i][2 * half] * factor, rows[i][2 * half + 1] * factor);
  }
}

// A block a tile of keys with its range of queries, and a head of keys; its heads of queries are taken in order.
template <int D>
__device__ void backward_keys(const bf16* q, const bf16* k, const bf16* v, const bf16* grad, const float* lse, const float* along,
                              KeyGradients to, const KeyTile* tiles, Shape shape, bool causal, float scale) {
  extern __shared__ float shared[];
  // Two buffers of lse and along of a turn's queries, the tile's keys and values, two buffers of queries and their gradients.
  float* statistics = shared;
  bf16* tile_keys = reinterpret_cast<bf16*>(shared + 4 * STEP);
  constexpr int NUMBERS = TILE_NUMBERS<D, TILE>, STEP_NUMBERS = TILE_NUMBERS<D, STEP>;
  bf16* buffers = tile_keys + 2 * NUMBERS;
  const int kv_head = blockIdx.x, heads_per_kv = shape.heads / shape.kv_heads, columns = shape.columns;
  const KeyTile tile = tiles[blockIdx.y];
  auto key_row = [&](int i) { return tile.row + i; };
  copy_rows<D, TILE>(tile_keys, Rows(k, shape.kv_heads, kv_head, columns), tile.n_rows, key_row);
  copy_rows<D, TILE>(tile_keys + NUMBERS, Rows(v, shape.kv_heads, kv_head, columns), tile.n_rows, key_row);

  const int steps = (tile.query_end - tile.query + STEP - 1) / STEP, turns = steps * heads_per_kv;
  auto copy = [&](int turn) {
    const int head = kv_head * heads_per_kv + turn / steps, first = tile.query + turn % steps * STEP;
    bf16* to = buffers + turn % 2 * 2 * STEP_NUMBERS;
    auto row_of = [&](int i) { return first + i; };
    copy_rows<D, STEP>(to, Rows(q, shape.heads, head, columns), tile.query_end - first, row_of);
    copy_rows<D, STEP>(to + STEP_NUMBERS, Rows(grad, shape.heads, head, columns), tile.query_end - first, row_of);
    if (threadIdx.x < 2 * STEP) {
      const float* from = threadIdx.x < STEP ? lse : along;
      const int row = first + threadIdx.x % STEP;
      const bool is_there = row < tile.query_end;
      cp_async_4(statistics + turn % 2 * 2 * STEP + threadIdx.x, is_there ? from + int64_t(head) * shape.tokens + row : from,
                 is_there ? 4 : 0);
    }
    cp_async_commit();
  };
  copy(0);

  const int warp_row = threadIdx.x / 32 * 16;
  const bf16 *own_keys = tile_keys + TILE_NUMBERS<D, 1> * warp_row, *own_values = own_keys + NUMBERS;
  float dk[D / 8][4] = {}, dv[D / 8][4] = {};
  for (int turn = 0; turn < turns; ++turn) {
    cp_async_wait<0>();
    __syncthreads();  // this turn's rows are there, and nobody reads the last one's
    if (turn + 1 < turns) copy(turn + 1);
    const bf16 *queries = buffers + turn % 2 * 2 * STEP_NUMBERS, *grads = queries + STEP_NUMBERS;
    const float *bases = statistics + turn % 2 * 2 * STEP, *sums = bases + STEP;
    // The rows are keys here, the columns queries.
    float weights[STEP / 8][4] = {}, slopes[STEP / 8][4] = {};
    {
      uint32_t left[D / 16][4];
      load_left<D>(left, own_keys);
      multiply_transposed<D, STEP>(weights, left, queries);
      load_left<D>(left, own_values);
      multiply_transposed<D, STEP>(slopes, left, grads);
    }
    const int first = tile.query + turn % steps * STEP;
    const bool all_seen = !causal || first >= tile.row + TILE - 1;
#pragma unroll
    for (int i = 0; i < STEP / 8; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int column = i * 8 + lane_column() + j % 2;
        const bool is_seen = all_seen || first + column >= tile.row + warp_row + lane_row() + j / 2 * 8;
        const float weight = is_seen ? fast_exp2(weights[i][j] * (scale * LOG2_E) - bases[column]) : 0;
        weights[i][j] = weight;
        slopes[i][j] = weight * (slopes[i][j] - sums[column]);
      }
    uint32_t rounded[STEP / 16][4];
    to_left<STEP>(rounded, weights);
    multiply<D, STEP>(dv, rounded, grads);
    to_left<STEP>(rounded, slopes);
    multiply<D, STEP>(dk, rounded, queries);
  }
  if (tile.part < 0) {
    const int64_t stride = int64_t(shape.kv_heads) * columns, at = (tile.row + warp_row) * stride + kv_head * columns;
    store_rows<D>(to.dk + at, stride, columns, tile.n_rows - warp_row, dk, scale, scale);
    store_rows<D>(to.dv + at, stride, columns, tile.n_rows - warp_row, dv, 1, 1);
  } else {
    const int64_t at = ((int64_t(tile.part) * shape.kv_heads + kv_head) * TILE + warp_row) * columns;
    store_part<D>(to.dk_parts + at, columns, dk, scale);
    store_part<D>(to.dv_parts + at, columns, dv, 1);
  }
}

// Adds up the shares of a tile that has several, in order. A block a tile and a head of keys.
extern "C" __global__ void attention_sum_parts(const float* dk_parts, const float* dv_parts, bf16* dk, bf16* dv,
                                               const SplitTile* tiles, int kv_heads, int columns) {
  const SplitTile tile = tiles[blockIdx.y];
  const int64_t per_part = int64_t(kv_heads) * TILE * columns;
  const int64_t from = tile.part * per_part + int64_t(blockIdx.x) * TILE * columns;
  for (int i = threadIdx.x; i < tile.n_rows * columns; i += blockDim.x) {
    float k_sum = 0, v_sum = 0;
    for (int part = 0; part < tile.n_parts; ++part) {
      k_sum += dk_parts[from + part * per_part + i];
      v_sum += dv_parts[from + part * per_part + i];
    }
    const int64_t at = (int64_t(tile.row + i / columns) * kv_heads + blockIdx.x) * columns + i % columns;
    dk[at] = __float2bfloat16(k_sum);
    dv[at] = __float2bfloat16(v_sum);
  }
}

#define BACKWARD(D)                                                                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS<D>)                                                                  \
      attention_backward_queries_##D(const bf16* q, const bf16* k, const bf16* v, const bf16* out, const bf16* grad,           \
                                     const float* lse, float* along, bf16* dq, const QueryTile* tiles, int tokens, int heads,  \
                                     int kv_heads, int columns, int causal, float scale) {                                     \
    const Shape shape{tokens, heads, kv_heads, columns};                                                                       \
    backward_queries<D>(q, k, v, out, grad, lse, along, dq, tiles, shape, causal, scale);                                      \
  }                                                                                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS<D>)                                                                  \
      attention_backward_keys_##D(const bf16* q, const bf16* k, const bf16* v, const bf16* grad, const float* lse,             \
                                  const float* along, bf16* dk, bf16* dv, float* dk_parts, float* dv_parts,                    \
                                  const KeyTile* tiles, int tokens, int heads, int kv_heads, int columns, int causal,          \
                                  float scale) {                                                                               \
    const Shape shape{tokens, heads, kv_heads, columns};                                                                       \
    backward_keys<D>(q, k, v, grad, lse, along, {dk, dv, dk_parts, dv_parts}, tiles, shape, causal, scale);                    \
  }
BACKWARD(64)
BACKWARD(80)
BACKWARD(96)
BACKWARD(128)
