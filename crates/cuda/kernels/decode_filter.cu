// Which tokens of a row top-k and top-p keep, as the place of the last one in the order of likelihood: those that the program's
// sampler on the CPU keeps. Probabilities are summed as whole numbers, so that no order of summation changes the result.
// Not here: min-p, which each token is held against by itself, and the draw (decode_sample.cu).
//
// The place is searched for by histograms: first of the scores' distance from the largest, where a model's logits are well
// spread, then, of the tokens in the one bin that matters, of each digit of their places. Those are few; a flat row has many,
// and then all of its tokens are looked at again.
#include "decode_row.cuh"

constexpr int THREADS = 1024;
constexpr int BINS = 2048;              // of the distance
constexpr float BINS_PER_UNIT = 64.0f;  // at a distance of 32 everything else is in the last bin, and weighs nothing below
constexpr int LISTED = 4096;            // tokens of a bin that are remembered
constexpr int DIGIT_BITS = 8;
constexpr int DIGITS = 1 << DIGIT_BITS;
constexpr int PLACE_BITS = 32 + ID_BITS;
constexpr float WHOLE = 4398046511104.0f;  // 2^42: the most likely token's probability as a whole number

// A row and what is known of it.
struct Filtered {
  Row row;
  float largest;       // the largest score
  uint64_t last_kept;  // tokens behind it are gone

  __device__ float score(int id) const { return row.score(row.allowed(id, row.logits[id])); }

  __device__ int bin(float score) const {
    const float scaled = __fmul_rn(__fsub_rn(largest, score), BINS_PER_UNIT);
    return scaled < float(BINS - 1) ? int(scaled) : BINS - 1;
  }
};

// What the threads of a block share.
struct Scratch {
  unsigned long long* bins;    // [BINS]
  unsigned long long* groups;  // [32]
  int* listed;                 // [LISTED]
  int* n_listed;
  int* found;
  unsigned long long* rest;
};

// What all of the first `n` bins hold together. Every warp leaves what its own share of them holds in `groups`.
__device__ uint64_t sum_bins(const Scratch& scratch, int n) {
  const int warp = threadIdx.x / 32, each = n / 32;
  unsigned long long sum = 0;
  for (int i = threadIdx.x % 32; i < each; i += 32) sum += scratch.bins[warp * each + i];
  for (int flipped = 16; flipped; flipped /= 2) sum += __shfl_xor_sync(~0u, sum, flipped);
  if (threadIdx.x % 32 == 0) scratch.groups[warp] = sum;
  __syncthreads();
  unsigned long long all = 0;
#pragma unroll 1
  for (int i = 0; i < 32; ++i) all += scratch.groups[i];
  return all;
}

// The bin with which the running sum reaches `wanted`, the last one where it does not; takes what is before it off `wanted`.
__device__ int reaching(const Scratch& scratch, int n, uint64_t& wanted) {
  if (threadIdx.x == 0) {
    const int each = n / 32;
    unsigned long long rest = wanted;
    int group = 0;
    for (; group < 31 && scratch.groups[group] < rest; ++group) rest -= scratch.groups[group];
    int bin = group * each;
    for (; bin < n - 1 && scratch.bins[bin] < rest; ++bin) rest -= scratch.bins[bin];
    *scratch.found = bin, *scratch.rest = rest;
  }
  __syncthreads();
  wanted = *scratch.rest;
  return *scratch.found;
}

__device__ void clear_bins(const Scratch& scratch, int n) {
  __syncthreads();  // what was in them has been read
  for (int i = threadIdx.x; i < n; i += THREADS) scratch.bins[i] = 0;
  if (threadIdx.x == 0) *scratch.n_listed = 0;
  __syncthreads();
}

// The place of the token with which the running sum of what tokens are worth, from the most likely one on, reaches what is
// wanted of the whole. `worth` is of a score; `wanted_of` takes the sum over all tokens but those of the last bin.
template <class Worth, class Wanted>
__device__ uint64_t place_reaching(const Filtered& of, const Scratch& scratch, Worth worth, Wanted wanted_of) {
  clear_bins(scratch, BINS);
  for (int id = threadIdx.x; id < of.row.vocab; id += THREADS) {
    const float score = of.score(id);
    const int bin = of.bin(score);
    if (bin < BINS - 1 && place(score, id) <= of.last_kept) atomicAdd(scratch.bins + bin, worth(score));
  }
  __syncthreads();
  uint64_t wanted = wanted_of(sum_bins(scratch, BINS));
  const int bin = reaching(scratch, BINS, wanted);
  for (int id = threadIdx.x; id < of.row.vocab; id += THREADS) {
    if (of.bin(of.score(id)) != bin) continue;
    const int at = atomicAdd(scratch.n_listed, 1);
    if (at < LISTED) scratch.listed[at] = id;
  }
  __syncthreads();
  const int n = *scratch.n_listed;
  uint64_t found = 0;
  for (int shift = PLACE_BITS - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
    clear_bins(scratch, DIGITS);
    for (int i = threadIdx.x; i < (n > LISTED ? of.row.vocab : n); i += THREADS) {
      const int id = n > LISTED ? i : scratch.listed[i];
      const float score = of.score(id);
      const uint64_t own = place(score, id);
      const bool is_among = of.bin(score) == bin && own <= of.last_kept && own >> shift >> DIGIT_BITS == found;
      if (is_among) atomicAdd(scratch.bins + (own >> shift) % DIGITS, worth(score));
    }
    __syncthreads();
    sum_bins(scratch, DIGITS);
    found = found << DIGIT_BITS | reaching(scratch, DIGITS, wanted);
  }
  return found;
}

// The largest logit of a row that may be drawn. `scratch` holds 32 numbers.
__device__ float largest_left(const Extremes* blocks, int n, float* scratch) {
  float largest = -INFINITY;
  for (int i = threadIdx.x; i < n; i += THREADS) largest = fmaxf(largest, blocks[i].largest_left);
  for (int flipped = 16; flipped; flipped /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, flipped));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = largest;
  __syncthreads();
#pragma unroll 1
  for (int i = 0; i < 32; ++i) largest = fmaxf(largest, scratch[i]);
  return largest;
}

// A block for each row.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    sample_filter(const float* logits, const Drawing* drawing_at, const RowState* states, int first_row, int is_first) {
  __shared__ unsigned long long bins[BINS];
  __shared__ unsigned long long groups[32];
  __shared__ int listed[LISTED];
  __shared__ float largest[32];
  __shared__ int n_listed;
  __shared__ int found;
  __shared__ unsigned long long rest;
  let_next_begin();
  wait_for_previous();
  const Drawing& drawing = *drawing_at;
  const int at = first_row + blockIdx.x, drawn = n_drawn(states[at], drawing.max_new_tokens, is_first);
  if (drawn < 0) return;
  const Row row(logits, drawing, at, drawn);
  const float logit = largest_left(drawing.extremes + int64_t(at) * drawing.blocks(), drawing.blocks(), largest);
  Filtered of{row, row.score(logit), ~uint64_t(0)};
  const Scratch scratch{bins, groups, listed, &n_listed, &found, &rest};
  if (drawing.top_k > 0 && drawing.top_k < row.vocab) {
    const uint64_t kth = place_reaching(
        of, scratch, [](float) { return 1ull; }, [&](uint64_t) { return uint64_t(drawing.top_k); });
    of.last_kept = kth | ((1u << ID_BITS) - 1);  // with all that are tied with it
  }
  if (drawing.dropped > 0) {
    const auto probability = [&](float score) {
      return (unsigned long long)(exp_of_non_positive(__fsub_rn(score, of.largest)) * WHOLE);
    };
    of.last_kept = place_reaching(of, scratch, probability, [&](uint64_t all) {
      return all - min(uint64_t(__dmul_rn(drawing.dropped, double(all))), all - 1);
    });
  }
  if (threadIdx.x == 0) drawing.last_kept[at] = of.last_kept;
}
