// Softmax attention within the segments of a packed stream, as FlashAttention-2 (Dao 2023): a running maximum and sum per query,
// products in tensor cores, weights rounded to bf16.
// Not here: gradients (attention_backward.cu).
#include "attention.cuh"

// Blocks for which a multiprocessor has registers; with room for more of them some kernel would spill.
template <int D> constexpr int BLOCKS = D > 64 ? 2 : 3;

// A block a tile of queries and a head; `out` as `q`, `lse` [heads, T]: per query, log2 of the sum of 2^(scores in base 2).
template <int D>
__device__ void forward(const bf16* q, const bf16* k, const bf16* v, bf16* out, float* lse, const QueryTile* tiles, int tokens,
                        int heads, int kv_heads, int columns, bool causal, float scale) {
  extern __shared__ float shared[];
  bf16* buffers = reinterpret_cast<bf16*>(shared);  // two of a tile of keys and one of values
  constexpr int NUMBERS = TILE_NUMBERS<D, TILE>;
  const int head = blockIdx.x, kv_head = head / (heads / kv_heads);
  const QueryTile tile = tiles[blockIdx.y];
  const Rows queries(q, heads, head, columns), keys(k, kv_heads, kv_head, columns), values(v, kv_heads, kv_head, columns);
  auto copy = [&](int first) {
    bf16* to = buffers + first / TILE % 2 * 2 * NUMBERS;
    auto row_of = [&](int i) { return tile.key_row(first + i); };
    copy_rows<D, TILE>(to, keys, tile.n_keys - first, row_of);
    copy_rows<D, TILE>(to + NUMBERS, values, tile.n_keys - first, row_of);
    cp_async_commit();
  };
  copy(0);
  scale *= LOG2_E;

  const int row = tile.row + threadIdx.x / 32 * 16, end = tile.row + tile.n_rows;
  uint32_t left[D / 16][4];
  load_left<D>(left, queries, row, end);
  // Of rows group and group + 8.
  const int visible[2] = {tile.visible(row + lane_row(), causal), tile.visible(row + lane_row() + 8, causal)};
  const int visible_to_all = tile.visible(row, causal);
  float maximum[2] = {-INFINITY, -INFINITY}, total[2] = {};
  float sums[D / 8][4] = {};
  for (int first = 0; first < tile.n_keys; first += TILE) {
    cp_async_wait<0>();
    __syncthreads();  // this turn's tile is there, and nobody reads the last one's
    if (first + TILE < tile.n_keys) copy(first + TILE);
    const bf16* tile_keys = buffers + first / TILE % 2 * 2 * NUMBERS;
    float scores[TILE / 8][4] = {};
    multiply_transposed<D, TILE>(scores, left, tile_keys);
    if (first + TILE > visible_to_all)
#pragma unroll
      for (int i = 0; i < TILE / 8; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (first + i * 8 + lane_column() + j % 2 >= visible[j / 2]) scores[i][j] = -INFINITY;
    // Every row sees the first key, so that no maximum stays infinite.
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = maximum[half];
#pragma unroll
      for (int i = 0; i < TILE / 8; ++i) largest = fmaxf(largest, fmaxf(scores[i][2 * half], scores[i][2 * half + 1]));
      largest = largest_of_row(largest);
      const float shrink = fast_exp2((maximum[half] - largest) * scale), shift = largest * scale;
      maximum[half] = largest;
      total[half] *= shrink;
#pragma unroll
      for (int i = 0; i < TILE / 8; ++i)
#pragma unroll
        for (int j = 2 * half; j < 2 * half + 2; ++j) {
          scores[i][j] = fast_exp2(scores[i][j] * scale - shift);
          total[half] += scores[i][j];
        }
#pragma unroll
      for (int i = 0; i < D / 8; ++i) {
        sums[i][2 * half] *= shrink;
        sums[i][2 * half + 1] *= shrink;
      }
    }
    uint32_t weights[TILE / 16][4];
    to_left<TILE>(weights, scores);
    multiply<D, TILE>(sums, weights, tile_keys + NUMBERS);
  }
  for (float& sum : total) sum = sum_of_row(sum);
  const int64_t stride = queries.stride;
  store_rows<D>(out + row * stride + head * columns, stride, columns, end - row, sums, 1 / total[0], 1 / total[1]);
  if (threadIdx.x % 4 == 0)
    for (int half = 0; half < 2; ++half) {
      const int r = row + lane_row() + half * 8;
      if (r < end) lse[int64_t(head) * tokens + r] = maximum[half] * scale + log2f(total[half]);
    }
}

#define FORWARD(D)                                                                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS<D>)                                                                  \
      attention_forward_##D(const bf16* q, const bf16* k, const bf16* v, bf16* out, float* lse, const QueryTile* tiles,        \
                            int tokens, int heads, int kv_heads, int columns, int causal, float scale) {                       \
    forward<D>(q, k, v, out, lse, tiles, tokens, heads, kv_heads, columns, causal, scale);                                     \
  }
FORWARD(64)
FORWARD(80)
FORWARD(96)
FORWARD(128)
