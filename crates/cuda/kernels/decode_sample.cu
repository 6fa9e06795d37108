// The next token of each row from its logits, by the row's random numbers: the token that the program's sampler on the CPU draws
// from the same logits, number for number. Weights are added up in blocks of 1024 tokens over 16 running sums, blocks in f64,
// without a fused multiply-add; the drawn token is searched for in one block.
// Not here: filters and the repetition penalty, which the CPU's sampler alone has.
#include "decode.cuh"

constexpr int BLOCK = 1024;  // tokens whose weights are added up together
constexpr int LANES = 16;    // running sums of a block
constexpr int BLOCKS_AT_ONCE = 8;  // of a block of threads, a thread for each running sum

// The logits of a row and which of them may be drawn.
struct Row {
  const float* logits;
  int vocab;
  const uint32_t* suppressed;  // a bit for each token

  __device__ bool is_suppressed(int id) const { return suppressed[id / 32] >> id % 32 & 1; }
};

// Of a block of tokens.
struct Extremes {
  float largest, largest_left;  // of all, and of those that may be drawn
  int first_left;               // the first token with the latter
  int first_bad;                // the first token whose logit is not finite; the vocabulary's size where there is none
};

// Takes another's tokens in; of equal logits the first token counts.
__device__ inline void take(Extremes& own, const Extremes& other) {
  own.first_bad = min(own.first_bad, other.first_bad);
  own.largest = fmaxf(own.largest, other.largest);
  if (other.largest_left > own.largest_left || (other.largest_left == own.largest_left && other.first_left < own.first_left))
    own.largest_left = other.largest_left, own.first_left = other.first_left;
}

struct Totals {
  double all, left;
};

struct Sampled {
  uint32_t id;
  float logp;
  uint32_t problem;  // 0: none, 1: the logit of `id` is not finite, 2: no token may be drawn
};

// exp(x) for x <= 0: the polynomial and the roundings of `rollout::distribution`.
__device__ inline float exp_of_non_positive(float x) {
  const float rounder = 12582912.0f;
  const float shifted = __fadd_rn(__fmul_rn(x, 1.44269504088896340736f), rounder);
  const float n = __fsub_rn(shifted, rounder);
  const float r = __fsub_rn(__fsub_rn(x, __fmul_rn(n, 0.6933594f)), __fmul_rn(n, -2.1219444e-4f));
  const float coefficients[5] = {1.3981999e-3f, 8.333452e-3f, 4.1665796e-2f, 1.6666665e-1f, 0.5f};
  float polynomial = 1.9875691e-4f;
#pragma unroll
  for (int i = 0; i < 5; ++i) polynomial = __fadd_rn(__fmul_rn(polynomial, r), coefficients[i]);
  const float exp_r = __fadd_rn(__fadd_rn(__fmul_rn(__fmul_rn(polynomial, r), r), r), 1.0f);
  const float exp_x = __uint_as_float(__float_as_uint(exp_r) + (__float_as_uint(shifted) << 23));
  return x > -86.0f ? exp_x : 0.0f;
}

__device__ inline float weight(float logit, float max, float temperature) {
  return exp_of_non_positive(__fsub_rn(__fdiv_rn(logit, temperature), __fdiv_rn(max, temperature)));
}

// How many tokens the row has before the one that is drawn; negative where none is.
__device__ inline int n_drawn(const RowState& state, int max_new_tokens, bool is_first) {
  if (!state.is_live(max_new_tokens)) return -1;
  return is_first ? 0 : state.len + 1;
}

__device__ inline Row row_of(const float* logits, int vocab, const uint32_t* suppressed, int row, int drawn, int min_new_tokens) {
  // Two sets: with the stop tokens, while a completion is too short, and without.
  const int words = (vocab + 31) / 32;
  return {logits + int64_t(row) * vocab, vocab, suppressed + (drawn < min_new_tokens ? 0 : words)};
}

// A block for each block of tokens and row. `extremes`: [rows, blocks].
extern "C" __global__ void __launch_bounds__(128)
    sample_extremes(const float* logits, int vocab, const uint32_t* suppressed, int min_new_tokens, const RowState* states,
                    int first_row, int max_new_tokens, int is_first, Extremes* extremes) {
  __shared__ Extremes of_threads[128];
  const int at = first_row + blockIdx.y, drawn = n_drawn(states[at], max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row = row_of(logits, vocab, suppressed, at, drawn, min_new_tokens);
  Extremes own{-INFINITY, -INFINITY, vocab, vocab};
  const int start = blockIdx.x * BLOCK, end = min(vocab, start + BLOCK);
  for (int id = start + threadIdx.x; id < end; id += blockDim.x) {
    const float logit = row.logits[id];
    if (!isfinite(logit)) own.first_bad = min(own.first_bad, id);
    own.largest = fmaxf(own.largest, logit);
    if (logit > own.largest_left && !row.is_suppressed(id)) own.largest_left = logit, own.first_left = id;
  }
  of_threads[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < int(blockDim.x); ++i) take(own, of_threads[i]);
  extremes[int64_t(at) * gridDim.x + blockIdx.x] = own;
}

// The same of a whole row, by all threads of a block. `scratch` holds as many as there are threads.
__device__ Extremes of_row(const Extremes* blocks, int n, int vocab, Extremes* scratch) {
  Extremes own{-INFINITY, -INFINITY, vocab, vocab};
  for (int i = threadIdx.x; i < n; i += blockDim.x) take(own, blocks[i]);
  scratch[threadIdx.x] = own;
  __syncthreads();
  for (int i = 0; i < int(blockDim.x); ++i) take(own, scratch[i]);
  __syncthreads();
  return own;
}

// A block for eight blocks of tokens of a row, a thread for each running sum. `totals`: [rows, blocks].
extern "C" __global__ void __launch_bounds__(128)
    sample_totals(const float* logits, int vocab, const uint32_t* suppressed, int min_new_tokens, const RowState* states,
                  int first_row, int max_new_tokens, int is_first, float temperature, const Extremes* extremes, Totals* totals) {
  __shared__ Extremes scratch[128];
  __shared__ float sums_all[128];
  __shared__ float sums_left[128];
  const int at = first_row + blockIdx.y, drawn = n_drawn(states[at], max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row = row_of(logits, vocab, suppressed, at, drawn, min_new_tokens);
  const int blocks = (vocab + BLOCK - 1) / BLOCK;
  const Extremes of = of_row(extremes + int64_t(at) * blocks, blocks, vocab, scratch);
  const int block = blockIdx.x * BLOCKS_AT_ONCE + threadIdx.x / LANES, lane = threadIdx.x % LANES;
  const int start = block * BLOCK, end = min(vocab, start + BLOCK);
  float all = 0, left = 0;
  for (int id = start + lane; id < end; id += LANES) {
    const float logit = row.logits[id];
    all = __fadd_rn(all, weight(logit, of.largest, temperature));
    if (!row.is_suppressed(id)) left = __fadd_rn(left, weight(logit, of.largest_left, temperature));
  }
  sums_all[threadIdx.x] = all, sums_left[threadIdx.x] = left;
  __syncthreads();
  if (lane || block >= blocks) return;
  Totals own{0, 0};
  for (int i = 0; i < LANES; ++i) {
    own.all = __dadd_rn(own.all, double(sums_all[threadIdx.x + i]));
    own.left = __dadd_rn(own.left, double(sums_left[threadIdx.x + i]));
  }
  totals[int64_t(at) * blocks + block] = own;
}

// A multiple of 2^-53 in [0, 1), of the top bits of two words.
__device__ inline double unit_interval(uint32_t first, uint32_t second) {
  const uint64_t both = uint64_t(first) << 32 | second;
  return double(both >> 11) * (1.0 / 9007199254740992.0);
}

// A block for each row: draws, and counts the token that was given to the step. `sampled`: [rows], `tokens`: [rows].
extern "C" __global__ void __launch_bounds__(128)
    sample_draw(const float* logits, int vocab, const uint32_t* suppressed, int min_new_tokens, RowState* states, int first_row,
                int max_new_tokens, int is_first, float temperature, int is_greedy, const Extremes* extremes,
                const Totals* totals, Sampled* sampled, uint32_t* tokens) {
  __shared__ Extremes scratch[128];
  __shared__ float weights[BLOCK];
  __shared__ double total_all;
  __shared__ double left;
  __shared__ int picked;
  const int at = first_row + blockIdx.x;
  const RowState state = states[at];
  const int drawn = n_drawn(state, max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row = row_of(logits, vocab, suppressed, at, drawn, min_new_tokens);
  const int blocks = (vocab + BLOCK - 1) / BLOCK;
  const Extremes of = of_row(extremes + int64_t(at) * blocks, blocks, vocab, scratch);
  totals += int64_t(at) * blocks;
  if (of.first_bad < vocab || of.largest_left == -INFINITY) {
    if (threadIdx.x == 0) {
      const bool is_bad = of.first_bad < vocab;
      sampled[at] = {is_bad ? uint32_t(of.first_bad) : 0, 0, is_bad ? 1u : 2u};
      tokens[at] = 0;
      if (!is_first) states[at].len = state.len + 1;
    }
    return;
  }
  if (threadIdx.x == 0) {
    double sum = 0;
    for (int i = 0; i < blocks; ++i) sum = __dadd_rn(sum, totals[i].all);
    total_all = sum;
  }
  if (threadIdx.x == 32 && !is_greedy) {
    double sum = 0;
    for (int i = 0; i < blocks; ++i) sum = __dadd_rn(sum, totals[i].left);
    const Block words = philox(state.stream, drawn);
    double rest = __dmul_rn(unit_interval(words.at[0], words.at[1]), sum);
    int block = 0;
    for (; block < blocks && !(rest < totals[block].left); ++block) rest = __dsub_rn(rest, totals[block].left);
    if (block == blocks) {  // rounding led past the end: the last token with any weight
      rest = INFINITY;
      for (block = blocks - 1; block > 0 && !(totals[block].left > 0); --block) {}
    }
    left = rest, picked = block;
  }
  __syncthreads();
  int id = of.first_left;
  if (!is_greedy) {
    const int start = picked * BLOCK, n = min(vocab - start, BLOCK);
    for (int i = threadIdx.x; i < n; i += blockDim.x)
      weights[i] = row.is_suppressed(start + i) ? 0 : weight(row.logits[start + i], of.largest_left, temperature);
    __syncthreads();
    if (threadIdx.x == 0) {
      double rest = left;
      int last = 0, i = 0;
      for (; i < n; ++i) {
        const double own = weights[i];
        if (rest < own) break;
        rest = __dsub_rn(rest, own);
        if (own > 0) last = i;
      }
      id = start + (i < n ? i : last);
    }
  }
  if (threadIdx.x == 0) {
    const double scaled = (double(row.logits[id]) - double(of.largest)) / double(temperature);
    sampled[at] = {uint32_t(id), float(scaled - log(total_all)), 0};
    tokens[at] = id;
    if (!is_first) states[at].len = state.len + 1;
  }
}

// A block a row: the embeddings of the tokens that were drawn, `[rows, width]` from a table `[vocab, width]`.
extern "C" __global__ void __launch_bounds__(128)
    embed_drawn(const bf16* table, const uint32_t* tokens, const RowState* states, int max_new_tokens, int width, bf16* out) {
  if (!states[blockIdx.x].is_live(max_new_tokens)) return;
  const bf16* from = table + int64_t(tokens[blockIdx.x]) * width;
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) store_eight(out + int64_t(blockIdx.x) * width + i, load_eight(from + i));
}
