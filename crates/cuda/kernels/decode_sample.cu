// The next token of each row from its logits, by the row's random numbers: the token that the program's sampler on the CPU draws
// from the same logits, number for number. Weights are added up in blocks of 1024 tokens over 16 running sums, blocks in f64,
// without a fused multiply-add; the drawn token is searched for in one block.
// Not here: which tokens top-k and top-p keep (decode_filter.cu), what a token weighs (decode_row.cuh).
#include "decode_row.cuh"

constexpr int LANES = 16;    // running sums of a block
constexpr int BLOCKS_AT_ONCE = 8;  // of a block of threads, a thread for each running sum

// Takes another's tokens in; of equal logits the first token counts.
__device__ inline void take(Extremes& own, const Extremes& other) {
  own.first_bad = min(own.first_bad, other.first_bad);
  own.largest = fmaxf(own.largest, other.largest);
  if (other.largest_left > own.largest_left || (other.largest_left == own.largest_left && other.first_left < own.first_left))
    own.largest_left = other.largest_left, own.first_left = other.first_left;
}

// A block for each block of tokens and row.
extern "C" __global__ void __launch_bounds__(128)
    sample_extremes(const float* logits, const Drawing* drawing_at, const RowState* states, int first_row, int is_first) {
  __shared__ Extremes of_threads[128];
  const Drawing& drawing = *drawing_at;
  const int at = first_row + blockIdx.y, drawn = n_drawn(states[at], drawing.max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row(logits, drawing, at, drawn);
  Extremes own{-INFINITY, -INFINITY, row.vocab, row.vocab};
  const int start = blockIdx.x * BLOCK, end = min(row.vocab, start + BLOCK);
  for (int id = start + threadIdx.x; id < end; id += blockDim.x) {
    const float logit = row.logits[id], allowed = row.allowed(id);
    if (!isfinite(logit)) own.first_bad = min(own.first_bad, id);
    own.largest = fmaxf(own.largest, logit);
    if (allowed > own.largest_left) own.largest_left = allowed, own.first_left = id;
  }
  of_threads[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < int(blockDim.x); ++i) take(own, of_threads[i]);
  drawing.extremes[int64_t(at) * gridDim.x + blockIdx.x] = own;
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

// A block for eight blocks of tokens of a row, a thread for each running sum.
extern "C" __global__ void __launch_bounds__(128)
    sample_totals(const float* logits, const Drawing* drawing_at, const RowState* states, int first_row, int is_first) {
  __shared__ Extremes scratch[128];
  __shared__ float sums_all[128];
  __shared__ float sums_left[128];
  const Drawing& drawing = *drawing_at;
  const int at = first_row + blockIdx.y, drawn = n_drawn(states[at], drawing.max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row(logits, drawing, at, drawn);
  const int blocks = drawing.blocks();
  const Extremes of = of_row(drawing.extremes + int64_t(at) * blocks, blocks, row.vocab, scratch);
  const int block = blockIdx.x * BLOCKS_AT_ONCE + threadIdx.x / LANES, lane = threadIdx.x % LANES;
  const int start = block * BLOCK, end = min(row.vocab, start + BLOCK);
  float all = 0, left = 0;
  for (int id = start + lane; id < end; id += LANES) {
    all = __fadd_rn(all, row.weight(id, of.largest));
    left = __fadd_rn(left, row.weight_left(id, of.largest_left));
  }
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

// A block for each row: draws, notes the token as seen, and counts the token that was given to the step.
extern "C" __global__ void __launch_bounds__(128)
    sample_draw(const float* logits, const Drawing* drawing_at, RowState* states, int first_row, int is_first) {
  __shared__ Extremes scratch[128];
  __shared__ float weights[BLOCK];
  __shared__ double total_all;
  __shared__ double left;
  __shared__ int picked;
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
    for (int i = threadIdx.x; i < n; i += blockDim.x) weights[i] = row.weight_left(start + i, of.largest_left);
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
    const double scaled = (double(row.logits[id]) - double(of.largest)) / double(row.temperature);
    drawing.sampled[at] = {uint32_t(id), float(scaled - log(total_all)), 0};
    drawing.tokens[at] = id;
    if (row.seen) row.seen[id / 32] |= 1u << id % 32;
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
