// The next token of each row from its logits, by the row's random numbers: the token that the program's sampler on the CPU draws
// from the same logits, number for number. Weights are added up in blocks of 1024 tokens over 16 running sums, blocks in f64,
// without a fused multiply-add; the drawn token is searched for in one block.
// Not here: which tokens top-k and top-p keep (decode_filter.cu), what a token weighs (decode_row.cuh).
#include "decode_row.cuh"

constexpr int LANES = 16;    // running sums of a block
constexpr int THREADS = 128;
constexpr int BLOCKS_AT_ONCE = THREADS / LANES;  // of a block of threads, a thread for each running sum
constexpr int AT_ONCE = 8;   // logits or weights that a thread reads before it needs the first

// Takes another's tokens in; of equal logits the first token counts.
__device__ inline void take(Extremes& own, const Extremes& other) {
  own.first_bad = min(own.first_bad, other.first_bad);
  own.largest = fmaxf(own.largest, other.largest);
  if (other.largest_left > own.largest_left || (other.largest_left == own.largest_left && other.first_left < own.first_left))
    own.largest_left = other.largest_left, own.first_left = other.first_left;
}

// Those of all threads of a block together. `scratch` holds one for each warp.
__device__ inline Extremes of_block(Extremes own, Extremes* scratch) {
  for (int flipped = 16; flipped; flipped /= 2)
    take(own, {__shfl_xor_sync(~0u, own.largest, flipped), __shfl_xor_sync(~0u, own.largest_left, flipped),
               __shfl_xor_sync(~0u, own.first_left, flipped), __shfl_xor_sync(~0u, own.first_bad, flipped)});
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = own;
  __syncthreads();
  for (int warp = 0; warp < THREADS / 32; ++warp) take(own, scratch[warp]);
  return own;
}

// A block for each block of tokens and row.
extern "C" __global__ void __launch_bounds__(THREADS)
    sample_extremes(const float* logits, const Drawing* drawing_at, const RowState* states, int first_row, int is_first) {
  __shared__ Extremes scratch[THREADS / 32];
  let_next_begin();
  wait_for_previous();
  const Drawing& drawing = *drawing_at;
  const int at = first_row + blockIdx.y, drawn = n_drawn(states[at], drawing.max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row(logits, drawing, at, drawn);
  Extremes own{-INFINITY, -INFINITY, row.vocab, row.vocab};
  const int start = blockIdx.x * BLOCK + threadIdx.x;
  const bool may_all = !row.seen && !row.suppresses_any(blockIdx.x * BLOCK);
  float values[BLOCK / THREADS];
#pragma unroll
  for (int i = 0; i < BLOCK / THREADS; ++i) values[i] = row.logits[min(start + i * THREADS, row.vocab - 1)];
#pragma unroll
  for (int i = 0; i < BLOCK / THREADS; ++i) {
    const int id = start + i * THREADS;
    if (id >= row.vocab) break;
    const float allowed = may_all ? values[i] : row.allowed(id, values[i]);
    if (!isfinite(values[i])) own.first_bad = min(own.first_bad, id);
    own.largest = fmaxf(own.largest, values[i]);
    if (allowed > own.largest_left) own.largest_left = allowed, own.first_left = id;
  }
  own = of_block(own, scratch);
  if (threadIdx.x == 0) drawing.extremes[int64_t(at) * gridDim.x + blockIdx.x] = own;
}

// The same of a whole row, by all threads of a block. `scratch` holds one for each warp.
__device__ Extremes of_row(const Extremes* blocks, int n, int vocab, Extremes* scratch) {
  Extremes own{-INFINITY, -INFINITY, vocab, vocab};
  for (int i = threadIdx.x; i < n; i += THREADS) take(own, blocks[i]);
  return of_block(own, scratch);
}

// A block for eight blocks of tokens of a row, a thread for each running sum.
extern "C" __global__ void __launch_bounds__(THREADS)
    sample_totals(const float* logits, const Drawing* drawing_at, const RowState* states, int first_row, int is_first) {
  __shared__ Extremes scratch[THREADS / 32];
  __shared__ float sums_all[THREADS];
  __shared__ float sums_left[THREADS];
  let_next_begin();
  wait_for_previous();
  const Drawing& drawing = *drawing_at;
  const int at = first_row + blockIdx.y, drawn = n_drawn(states[at], drawing.max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row(logits, drawing, at, drawn);
  const int blocks = drawing.blocks();
  const Extremes of = of_row(drawing.extremes + int64_t(at) * blocks, blocks, row.vocab, scratch);
  const int block = blockIdx.x * BLOCKS_AT_ONCE + threadIdx.x / LANES, lane = threadIdx.x % LANES;
  const int start = block * BLOCK + lane, end = min(row.vocab, block * BLOCK + BLOCK);
  const bool is_plain = row.is_plain(of.largest, of.largest_left);
  // Of the two blocks of a warp.
  const int of_warp = block - block % 2;
  const bool may_all = is_plain && !row.suppresses_any(of_warp * BLOCK) && !row.suppresses_any((of_warp + 1) * BLOCK);
  float all = 0, left = 0;
  for (int first = start; first < end; first += AT_ONCE * LANES) {
    float values[AT_ONCE];  // read together
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i) values[i] = row.logits[min(first + i * LANES, row.vocab - 1)];
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i) {
      const int id = first + i * LANES;
      if (id >= end) break;
      const float weight = row.weight(values[i], of.largest);
      all = __fadd_rn(all, weight);
      if (may_all) continue;
      const float of_left = is_plain ? weight : row.weight_left(id, values[i], of.largest_left);
      left = __fadd_rn(left, is_plain && has(row.suppressed, id) ? 0.0f : of_left);
    }
  }
  if (may_all) left = all;
  sums_all[threadIdx.x] = all, sums_left[threadIdx.x] = left;
  __syncthreads();
  if (lane || block >= blocks) return;
  Totals own{0, 0};
  for (int i = 0; i < LANES; ++i) {
    own.all = __dadd_rn(own.all, double(sums_all[threadIdx.x + i]));
    own.left = __dadd_rn(own.left, double(sums_left[threadIdx.x + i]));
  }
  drawing.totals[int64_t(at) * blocks + block] = own;
}

// A multiple of 2^-53 in [0, 1), of the top bits of two words.
__device__ inline double unit_interval(uint32_t first, uint32_t second) {
  const uint64_t both = uint64_t(first) << 32 | second;
  return double(both >> 11) * (1.0 / 9007199254740992.0);
}

// Takes numbers off `rest`, in their order, up to the one that is larger than what is left; where that is, or `n`. `number(i)` may
// be asked for all numbers up to the next multiple of AT_ONCE. One thread's work: the subtractions wait for
// each other, all else does not.
template <class Number> __device__ int walk(double& rest, int n, const Number& number) {
  for (int first = 0; first < n; first += AT_ONCE) {
    double numbers[AT_ONCE], left[AT_ONCE + 1];
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i) numbers[i] = number(first + i);
    left[0] = rest;
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i) left[i + 1] = __dsub_rn(left[i], numbers[i]);
    int found = AT_ONCE;
#pragma unroll
    for (int i = AT_ONCE - 1; i >= 0; --i)
      if (first + i >= n || left[i] < numbers[i]) found = i;
    rest = left[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i)
      if (i == found) rest = left[i];
    if (found < AT_ONCE) return first + found;
  }
  return n;
}

// A block for each row: draws, notes the token as seen, and counts the token that was given to the step.
extern "C" __global__ void __launch_bounds__(THREADS)
    sample_draw(const float* logits, const Drawing* drawing_at, RowState* states, int first_row, int is_first) {
  __shared__ Extremes scratch[THREADS / 32];
  __shared__ Totals some[THREADS];
  __shared__ float weights[BLOCK];
  __shared__ double total_all;
  __shared__ double left;
  __shared__ int picked;
  let_next_begin();
  wait_for_previous();
  const Drawing& drawing = *drawing_at;
  const int at = first_row + blockIdx.x;
  const RowState state = states[at];
  const int drawn = n_drawn(state, drawing.max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row(logits, drawing, at, drawn);
  const int vocab = row.vocab, blocks = drawing.blocks(), is_greedy = drawing.is_greedy;
  const Extremes of = of_row(drawing.extremes + int64_t(at) * blocks, blocks, vocab, scratch);
  const Totals* totals = drawing.totals + int64_t(at) * blocks;
  if (of.first_bad < vocab || of.largest_left == -INFINITY) {
    if (threadIdx.x == 0) {
      const bool is_bad = of.first_bad < vocab;
      drawing.sampled[at] = {is_bad ? uint32_t(of.first_bad) : 0, 0, is_bad ? 1u : 2u};
      drawing.tokens[at] = 0;
      if (!is_first) states[at].len = state.len + 1;
    }
    return;
  }
  // Every block's totals, some at a time.
  const auto for_some = [&](const auto& visit) {
    for (int first = 0; first < blocks; first += THREADS) {
      const int i = first + threadIdx.x;
      some[threadIdx.x] = i < blocks ? totals[i] : Totals{0, 0};
      __syncthreads();
      visit(first, min(THREADS, blocks - first));
      __syncthreads();
    }
  };
  double sum_all = 0, sum_left = 0;
  for_some([&](int, int n) {
    if (threadIdx.x == 0)
#pragma unroll 8
      for (int i = 0; i < n; ++i) sum_all = __dadd_rn(sum_all, some[i].all);
    if (threadIdx.x == 32 && !is_greedy)
#pragma unroll 8
      for (int i = 0; i < n; ++i) sum_left = __dadd_rn(sum_left, some[i].left);
  });
  if (threadIdx.x == 0) total_all = sum_all;
  if (!is_greedy) {
    const Block words = philox(state.stream, drawn);
    double rest = __dmul_rn(unit_interval(words.at[0], words.at[1]), sum_left);
    int block = blocks;
    for_some([&](int first, int n) {
      if (threadIdx.x != 32 || block < blocks) return;
      const int found = walk(rest, n, [&](int i) { return some[i].left; });
      if (found < n) block = first + found;
    });
    if (threadIdx.x == 32) {
      if (block == blocks) {  // rounding led past the end: the last token with any weight
        rest = INFINITY;
        for (block = blocks - 1; block > 0 && !(totals[block].left > 0); --block) {}
      }
      left = rest, picked = block;
    }
  }
  __syncthreads();
  int id = of.first_left;
  if (!is_greedy) {
    const int start = picked * BLOCK, n = min(vocab - start, BLOCK);
    for (int i = threadIdx.x; i < n; i += THREADS) weights[i] = row.weight_left(start + i, row.logits[start + i], of.largest_left);
    __syncthreads();
    if (threadIdx.x == 0) {
      double rest = left;
      int i = walk(rest, n, [&](int i) { return double(weights[i]); });
      if (i == n)  // the last token with any weight
        for (i = n - 1; i > 0 && !(weights[i] > 0); --i) {}
      id = start + i;
    }
  }
  if (threadIdx.x == 0) {
    const double scaled = (double(row.logits[id]) - double(of.largest)) / double(row.temperature);
    drawing.sampled[at] = {uint32_t(id), float(scaled - log(total_all)), 0};
    drawing.tokens[at] = id;
    if (row.seen) row.seen[id / 32] |= 1u << id % 32;
    if (!is_first) states[at].len = state.len + 1;
  }
}

// A block a row: the embeddings of the tokens that were drawn, `[rows, width]` from a table `[vocab, width]`.
extern "C" __global__ void __launch_bounds__(THREADS)
    embed_drawn(const bf16* table, const uint32_t* tokens, const RowState* states, int max_new_tokens, int width, bf16* out) {
  let_next_begin();
  wait_for_previous();
  if (!states[blockIdx.x].is_live(max_new_tokens)) return;
  const bf16* from = table + int64_t(tokens[blockIdx.x]) * width;
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) store_eight(out + int64_t(blockIdx.x) * width + i, load_eight(from + i));
}
