// Attention of the newest token of each completion to its prompt and to itself, one layer of a step of decoding: turns queries
// and key by the token's angles, keeps key and value, and attends. A block has one row and the query heads of one key head; its
// warps take chunks of keys in turn, and what they have is merged in their order. What a row becomes does not depend on the other
// rows.
//
// Keys and values go from memory into the tensor cores' fragments without a stop in shared memory. A sum over dimensions has no
// order, and whichever row of a product a dimension is, it can be written where it belongs: so each lane reads whole pieces of
// eight dimensions, and takes them for the numbers that the fragment's layout wants from it.
// Not here: attention within a packed stream (attention_forward.cu).
#include "decode.cuh"
#include "pieces.cuh"
#include "tensor_core.cuh"

constexpr int WARPS = 16;
constexpr int CHUNK = 16;   // keys that a warp takes at a time
constexpr int MOST = 128;   // dimensions of a head
// Whether a thread's registers hold all of a chunk's keys and values at a time: for compute capability 8.9 nvcc finds
// no such way.
#if __CUDA_ARCH__ == 890
constexpr bool HAS_ROOM = false;
#else
constexpr bool HAS_ROOM = true;
#endif
// Scores are kept in base 2, for 2^x rather than e^x.
constexpr float LOG2_E = 1.4426950408889634f;

struct Heads {
  int kv_heads, head_dim;
};

// What is kept of a layer, of one key head: `[tokens, kv_heads, head_dim]` of the prompt and then of the completion, from the
// head's first number on. Those of the completion begin where its first token would be if the prompt stood before it.
struct Kept {
  const bf16 *prompt_keys, *prompt_values, *keys, *values;
  int prompt_len, stride;

  __device__ const bf16* key(int i) const { return (i < prompt_len ? prompt_keys : keys) + i * stride; }
  __device__ const bf16* value(int i) const { return (i < prompt_len ? prompt_values : values) + i * stride; }
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

// What bf16 does not hold of a number.
__device__ inline float rest_of(float x) { return x - __bfloat162float(__float2bfloat16(x)); }

// Number `i` of two pieces, the first one's low.
__device__ inline uint32_t both(const uint4& first, const uint4& second, int i) {
  const auto word = [&](const uint4& piece) { return i / 2 == 0 ? piece.x : i / 2 == 1 ? piece.y : i / 2 == 2 ? piece.z : piece.w; };
  const uint32_t low = word(first), high = word(second);
  return i % 2 ? low >> 16 | (high & 0xffff0000u) : (low & 0xffffu) | high << 16;
}

__device__ inline uint4 load_words(const bf16* from) { return *reinterpret_cast<const uint4*>(from); }

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
                       bf16* keys, bf16* values, bf16* out, int layer, int max_new_tokens, Heads heads) {
  extern __shared__ float shared[];
  const int row = blockIdx.x, kv_head = blockIdx.y, dim = heads.head_dim, half = dim / 2;
  let_next_begin();
  wait_for_previous();
  const RowState state = states[row];
  if (!state.is_live(max_new_tokens)) return;
  float* sums = shared;                            // [WARPS][G][MOST]
  float* of_warps = sums + WARPS * G * MOST;       // [WARPS][G][2]
  bf16* turned = reinterpret_cast<bf16*>(of_warps + WARPS * G * 2);  // [G][MOST]

  Kept kept;
  kept.stride = heads.kv_heads * dim;
  kept.prompt_len = state.prompt_len;
  const int64_t of_prompt = int64_t(state.prompt_len) * kept.stride;
  kept.prompt_keys = state.prompt + 2 * layer * of_prompt + kv_head * dim;
  kept.prompt_values = kept.prompt_keys + of_prompt;
  const int64_t own = int64_t(row) * max_new_tokens * kept.stride + kv_head * dim, newest = int64_t(state.len) * kept.stride;
  keys += own, values += own;
  kept.keys = keys - of_prompt, kept.values = values - of_prompt;

  // Turned queries; the key and value of this token are kept.
  const int64_t angle = (int64_t(row) * max_new_tokens + state.len) * half;
  const int pieces = (half + 7) / 8;
  for (int i = threadIdx.x; i < (G + 1) * pieces; i += blockDim.x) {
    const int head = i / pieces, column = i % pieces * 8, count = half - column;
    const bf16* from = head < G ? q + (int64_t(row) * heads.kv_heads * G + kv_head * G + head) * dim
                                : k + (int64_t(row) * heads.kv_heads + kv_head) * dim;
    bf16* to = head < G ? turned + head * MOST : keys + newest;
    Piece low = load_piece(from + column, count), high = load_piece(from + half + column, count);
    turn(low, high, cos + angle + column, sin + angle + column, count);
    store_piece(to + column, low, count);
    store_piece(to + half + column, high, count);
  }
  for (int i = threadIdx.x * 8; i < dim; i += blockDim.x * 8)
    store_piece(values + newest + i,
                load_piece(v + (int64_t(row) * heads.kv_heads + kv_head) * dim + i, dim - i), dim - i);
  __syncthreads();

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int outer = lane / 4, inner = lane % 4;  // of a fragment's eight rows or columns, and of the lanes of each
  const float scale = LOG2_E * rsqrtf(float(dim));
  const uint4 zeros = make_uint4(0, 0, 0, 0);
  // Rows of a product are query heads; what comes of those past the last one is never read. Of dimensions 32 j to 32 j + 31 a lane
  // has those from 8 `inner` on; where there are none keys are zero, and the last ones of the query stand in for it.
  const bf16* queries = turned + min(outer, G - 1) * MOST;
  float max = -INFINITY, total = 0;  // of query head `outer`; the total is of this lane's keys
  float sum[8][4];                   // [i]: of dimensions 8 outer + i and 64 + 8 outer + i, each for heads 2 inner and 2 inner + 1
#pragma unroll
  for (int i = 0; i < 8; ++i) sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0;
  const int n_keys = state.prompt_len + state.len + 1;
#pragma unroll 1
  for (int first = warp * CHUNK; first < n_keys; first += WARPS * CHUNK) {
    __syncwarp();  // queries are read again for each chunk rather than kept in registers
    uint4 key[2][4], value[4][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = first + 8 * half + outer;
      const bf16* from = kept.key(min(at, n_keys - 1)) + 8 * inner;
#pragma unroll
      for (int j = 0; j < 4; ++j) key[half][j] = 32 * j + 8 * inner < dim ? load_words(from + 32 * j) : zeros;
    }
    const auto load_values = [&](int half) {
      const int column = 64 * half + 8 * outer;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = min(first + 2 * inner + i % 2 + i / 2 * 8, n_keys - 1);
        value[i][half] = column < dim ? load_words(kept.value(at) + column) : zeros;
      }
    };
    load_values(0);
    if (HAS_ROOM) load_values(1);
    // Scores of head `outer`: keys 2 inner and 2 inner + 1 of each half.
    float score[2][4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint4 query = load_words(queries + min(32 * j + 8 * inner, dim - 8));
        mma_bf16(score[half], {query.x, 0, query.y, 0}, {key[half][j].x, key[half][j].y});
        mma_bf16(score[half], {query.z, 0, query.w, 0}, {key[half][j].z, key[half][j].w});
      }
    float larger = max;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const bool is_there = first + 8 * half + 2 * inner + j < n_keys;
        score[half][j] = is_there ? score[half][j] * scale : -INFINITY;
        larger = fmaxf(larger, score[half][j]);
      }
    larger = fmaxf(larger, __shfl_xor_sync(~0u, larger, 1));
    larger = fmaxf(larger, __shfl_xor_sync(~0u, larger, 2));
    const float shrunk = fast_exp2(max - larger);
    max = larger;
    total *= shrunk;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        score[half][j] = fast_exp2(score[half][j] - larger);
        total += score[half][j];
      }
    if (!HAS_ROOM) load_values(1);
    const float shrunk_first = __shfl_sync(~0u, shrunk, 8 * inner), shrunk_second = __shfl_sync(~0u, shrunk, 8 * inner + 4);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i][0] *= shrunk_first, sum[i][1] *= shrunk_second, sum[i][2] *= shrunk_first, sum[i][3] *= shrunk_second;
    // First with what bf16 holds of the weights, then with what it holds of the rest: rounded once, they would cost a logit more
    // than all else.
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {
      const uint32_t weights[2] = {bf16_pair(score[0][0], score[0][1]), bf16_pair(score[1][0], score[1][1])};
#pragma unroll
      for (int i = 0; i < 8; ++i)
        mma_bf16(sum[i], {both(value[0][0], value[1][0], i), both(value[0][1], value[1][1], i), both(value[2][0], value[3][0], i),
                          both(value[2][1], value[3][1], i)}, weights);
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < 2; ++j) score[half][j] = rest_of(score[half][j]);
    }
  }
  total += __shfl_xor_sync(~0u, total, 1);
  total += __shfl_xor_sync(~0u, total, 2);

  // The warps' together, in their order.
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int head = 2 * inner + j % 2, column = j / 2 * 64 + 8 * outer;
    if (head >= G || column >= dim) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[(warp * G + head) * MOST + column + i] = sum[i][j];
  }
  if (inner == 0 && outer < G) of_warps[(warp * G + outer) * 2] = max, of_warps[(warp * G + outer) * 2 + 1] = total;
  __syncthreads();
  for (int i = threadIdx.x; i < G * dim; i += blockDim.x) {
    const int g = i / dim, j = i % dim;
    const Partial all = merged(WARPS, [&](int w) -> Partial {
      const float* of_warp = of_warps + (w * G + g) * 2;
      return {of_warp[0], of_warp[1], sums[(w * G + g) * MOST + j]};
    });
    out[(int64_t(row) * heads.kv_heads * G + kv_head * G + g) * dim + j] = __float2bfloat16(all.value / all.weights);
  }
}

#define KERNEL(G)                                                                                                          \
  extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)                                                              \
      decode_attention_##G(const bf16* q, const bf16* k, const bf16* v, const float* cos, const float* sin,                \
                           RowState* states, bf16* keys, bf16* values, bf16* out, int layer, int max_new_tokens,           \
                           int kv_heads, int head_dim) {                                                                   \
    attend<G>(q, k, v, cos, sin, states, keys, values, out, layer, max_new_tokens, {kv_heads, head_dim});                  \
  }

KERNEL(1)
KERNEL(2)
KERNEL(3)
KERNEL(4)
KERNEL(5)
KERNEL(6)
KERNEL(7)
KERNEL(8)
