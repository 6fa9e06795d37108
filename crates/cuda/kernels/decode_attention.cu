// Attention of the newest token of each completion to its prompt and to itself, one layer of a step of decoding: turns queries
// and key by the token's angles, keeps key and value, and attends. A block has one row, the query heads of one key head, and
// every fourth chunk of keys; the last block of a row's head to end merges the four, in their order. What a row becomes does
// not depend on the other rows.
// Not here: attention within a packed stream (attention_forward.cu).
#include "decode.cuh"
#include "pieces.cuh"
#include "tensor_core.cuh"

constexpr int WARPS = 8;
constexpr int SHARES = 4;   // blocks of a row's key head
constexpr int CHUNK = 32;   // keys that a warp takes at a time
constexpr int MOST = 128;   // dimensions of a head
// Scores are kept in base 2, for 2^x rather than e^x.
constexpr float LOG2_E = 1.4426950408889634f;

struct Heads {
  int kv_heads, head_dim;
};

// What is kept of a layer, of one key head.
struct Kept {
  const bf16 *prompt_keys, *prompt_values;  // `[prompt_len, kv_heads, head_dim]`, from the head's first number on
  bf16 *keys, *values;                      // `[max_new_tokens, kv_heads, head_dim]`, likewise
  int prompt_len;
  int64_t stride;

  __device__ const bf16* key(int i) const {
    return i < prompt_len ? prompt_keys + i * stride : keys + (i - prompt_len) * stride;
  }
  __device__ const bf16* value(int i) const {
    return i < prompt_len ? prompt_values + i * stride : values + (i - prompt_len) * stride;
  }
};

// One number of a softmax over some keys, before it is divided: the largest score, the sum of weights, the weighted sum of values.
struct Partial {
  float largest, weights, value;
};

// Those of `n` parts of the keys together, in their order; a part without keys has minus infinity as its largest score.
template <class Part> __device__ Partial merged(int n, const Part& part) {
  Partial all{-INFINITY, 0, 0};
  for (int i = 0; i < n; ++i) all.largest = fmaxf(all.largest, part(i).largest);
  for (int i = 0; i < n; ++i) {
    const Partial own = part(i);
    if (own.largest == -INFINITY) continue;
    const float share = fast_exp2(own.largest - all.largest);
    all.weights += share * own.weights;
    all.value += share * own.value;
  }
  return all;
}

__device__ inline float warp_max(float x) {
  for (int flipped = 16; flipped; flipped /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, flipped));
  return x;
}
__device__ inline float warp_sum(float x) {
  for (int flipped = 16; flipped; flipped /= 2) x += __shfl_xor_sync(~0u, x, flipped);
  return x;
}

// Turns the pair (low, high) of eight columns.
__device__ inline void turn(Piece& low, Piece& high, const float* cos, const float* sin, int count) {
  const Piece c = load_piece(cos, count), s = load_piece(sin, count);
  for (int j = 0; j < 8; ++j) {
    const float a = low.at[j], b = high.at[j];
    low.at[j] = a * c.at[j] - b * s.at[j];
    high.at[j] = b * c.at[j] + a * s.at[j];
  }
}

// G: query heads of a key head.
template <int G>
__device__ void attend(const bf16* q, const bf16* k, const bf16* v, const float* cos, const float* sin, RowState* states,
                       bf16* keys, bf16* values, bf16* out, float* partials, unsigned* arrived, int layer,
                       int max_new_tokens, Heads heads) {
  extern __shared__ float shared[];
  const int row = blockIdx.x, kv_head = blockIdx.y, share = blockIdx.z, dim = heads.head_dim, half = dim / 2;
  const RowState state = states[row];
  if (!state.is_live(max_new_tokens)) return;
  float* scores = shared;                          // [WARPS][G][CHUNK]
  float* sums = scores + WARPS * G * CHUNK;        // [WARPS][G][MOST]
  float* of_warps = sums + WARPS * G * MOST;       // [WARPS][G][2]
  bf16* turned = reinterpret_cast<bf16*>(of_warps + WARPS * G * 2);  // [G][MOST]

  Kept kept;
  kept.stride = int64_t(heads.kv_heads) * dim;
  kept.prompt_len = state.prompt_len;
  kept.prompt_keys = state.prompt + int64_t(layer) * 2 * state.prompt_len * kept.stride + kv_head * dim;
  kept.prompt_values = kept.prompt_keys + state.prompt_len * kept.stride;
  kept.keys = keys + int64_t(row) * max_new_tokens * kept.stride + kv_head * dim;
  kept.values = values + int64_t(row) * max_new_tokens * kept.stride + kv_head * dim;

  // Turned queries; the key and value of this token are kept by each of the row's blocks that needs them, all the same.
  const int64_t angle = (int64_t(row) * max_new_tokens + state.len) * half;
  const int pieces = (half + 7) / 8;
  for (int i = threadIdx.x; i < (G + 1) * pieces; i += blockDim.x) {
    const int head = i / pieces, column = i % pieces * 8, count = half - column;
    const bf16* from = head < G ? q + (int64_t(row) * heads.kv_heads * G + kv_head * G + head) * dim
                                : k + (int64_t(row) * heads.kv_heads + kv_head) * dim;
    bf16* to = head < G ? turned + head * MOST : kept.keys + state.len * kept.stride;
    Piece low = load_piece(from + column, count), high = load_piece(from + half + column, count);
    turn(low, high, cos + angle + column, sin + angle + column, count);
    store_piece(to + column, low, count);
    store_piece(to + half + column, high, count);
  }
  for (int i = threadIdx.x * 8; i < dim; i += blockDim.x * 8)
    store_piece(kept.values + state.len * kept.stride + i,
                load_piece(v + (int64_t(row) * heads.kv_heads + kv_head) * dim + i, dim - i), dim - i);
  __syncthreads();

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = lane % 16 * 8, which = lane / 16;
  const bool has_columns = column < dim;
  const float scale = LOG2_E * rsqrtf(float(dim));
  Piece query[G], sum[G];
  float max[G], total[G];
#pragma unroll
  for (int g = 0; g < G; ++g) {
    query[g] = load_piece(turned + g * MOST + column, has_columns ? 8 : 0);
    for (int j = 0; j < 8; ++j) query[g].at[j] *= scale, sum[g].at[j] = 0;
    max[g] = -INFINITY, total[g] = 0;
  }
  float* own_scores = scores + warp * G * CHUNK;
  const int n_keys = state.prompt_len + state.len + 1;
  for (int first = (warp * SHARES + share) * CHUNK; first < n_keys; first += WARPS * SHARES * CHUNK) {
    // Scores: half a warp has a key.
#pragma unroll 4
    for (int i = which; i < CHUNK; i += 2) {
      const bool is_there = first + i < n_keys;
      const Piece key = load_piece(kept.key(is_there ? first + i : 0) + column, has_columns && is_there ? 8 : 0);
#pragma unroll
      for (int g = 0; g < G; ++g) {
        float dot = 0;
        for (int j = 0; j < 8; ++j) dot += query[g].at[j] * key.at[j];
        for (int flipped = 8; flipped; flipped /= 2) dot += __shfl_xor_sync(~0u, dot, flipped);
        if (lane % 16 == 0) own_scores[g * CHUNK + i] = is_there ? dot : -INFINITY;
      }
    }
    __syncwarp();
    // Weights: a lane has a key.
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const float score = own_scores[g * CHUNK + lane];
      const float larger = fmaxf(max[g], warp_max(score));
      const float weight = fast_exp2(score - larger), shrunk = fast_exp2(max[g] - larger);
      own_scores[g * CHUNK + lane] = weight;
      total[g] = total[g] * shrunk + warp_sum(weight);
      for (int j = 0; j < 8; ++j) sum[g].at[j] *= shrunk;
      max[g] = larger;
    }
    __syncwarp();
    // Values: half a warp has one.
#pragma unroll 4
    for (int i = which; i < CHUNK; i += 2) {
      const bool is_there = first + i < n_keys;
      const Piece value = load_piece(kept.value(is_there ? first + i : 0) + column, has_columns && is_there ? 8 : 0);
#pragma unroll
      for (int g = 0; g < G; ++g) {
        const float weight = own_scores[g * CHUNK + i];
        for (int j = 0; j < 8; ++j) sum[g].at[j] += weight * value.at[j];
      }
    }
    __syncwarp();
  }

  // The block's share: its warps, in their order.
#pragma unroll
  for (int g = 0; g < G; ++g) {
    for (int j = 0; j < 8; ++j) sum[g].at[j] += __shfl_xor_sync(~0u, sum[g].at[j], 16);
    if (which == 0 && has_columns)
      for (int j = 0; j < 8; ++j) sums[(warp * G + g) * MOST + column + j] = sum[g].at[j];
    if (lane == 0) of_warps[(warp * G + g) * 2] = max[g], of_warps[(warp * G + g) * 2 + 1] = total[g];
  }
  __syncthreads();
  const int group = row * heads.kv_heads + kv_head;
  const int width = MOST + 2;  // of a head in a partial: its values, largest score, sum of weights
  float* of_group = partials + int64_t(group) * SHARES * G * width;
  for (int i = threadIdx.x; i < G * dim; i += blockDim.x) {
    const int g = i / dim, j = i % dim;
    const Partial own = merged(WARPS, [&](int w) -> Partial {
      const float* of_warp = of_warps + (w * G + g) * 2;
      return {of_warp[0], of_warp[1], sums[(w * G + g) * MOST + j]};
    });
    float* at = of_group + (share * G + g) * width;
    at[j] = own.value;
    if (j == 0) at[MOST] = own.largest, at[MOST + 1] = own.weights;
  }

  // The row's head: its shares, in their order.
  __threadfence();
  __shared__ unsigned earlier;
  __syncthreads();
  if (threadIdx.x == 0) earlier = atomicAdd(arrived + group, 1u);
  __syncthreads();
  if (earlier != SHARES - 1) return;
  __threadfence();
  if (threadIdx.x == 0) arrived[group] = 0;
  for (int i = threadIdx.x; i < G * dim; i += blockDim.x) {
    const int g = i / dim, j = i % dim;
    const Partial all = merged(SHARES, [&](int s) -> Partial {
      const float* at = of_group + (s * G + g) * width;
      return {at[MOST], at[MOST + 1], at[j]};
    });
    out[(int64_t(row) * heads.kv_heads * G + kv_head * G + g) * dim + j] = __float2bfloat16(all.value / all.weights);
  }
}

#define KERNEL(G)                                                                                                           \
  extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)                                                                \
      decode_attention_##G(const bf16* q, const bf16* k, const bf16* v, const float* cos, const float* sin,                \
                           RowState* states, bf16* keys, bf16* values, bf16* out, float* partials, unsigned* arrived,      \
                           int layer, int max_new_tokens, int kv_heads, int head_dim) {                                    \
    attend<G>(q, k, v, cos, sin, states, keys, values, out, partials, arrived, layer, max_new_tokens, {kv_heads, head_dim}); \
  }

KERNEL(1)
KERNEL(2)
KERNEL(3)
KERNEL(4)
KERNEL(5)
KERNEL(6)
KERNEL(7)
KERNEL(8)
