// A row of logits as the sampler sees it: which tokens may be drawn, in which order of likelihood, and what they weigh.
// Not here: the kernels (decode_sample.cu, decode_filter.cu), what decoding knows of a row besides (decode.cuh).
#pragma once
#include "decode.cuh"

constexpr int BLOCK = 1024;  // tokens whose weights are added up together

// Of a block of tokens.
struct Extremes {
  float largest, largest_left;  // of all, and of those that may be drawn
  int first_left;               // the first token with the latter
  int first_bad;                // the first token whose logit is not finite; the vocabulary's size where there is none
};

struct Totals {
  double all, left;
};

struct Sampled {
  uint32_t id;
  float logp;
  uint32_t problem;  // 0: none, 1: the logit of `id` is not finite, 2: no token may be drawn
};

// How tokens are drawn, and the arrays of the sampler: `Settings` of decode/sample.rs.
struct Drawing {
  const uint32_t* suppressed;  // a bit for each token: with the stop tokens, while a completion is too short, and without
  uint32_t* seen;              // [rows, words]: a bit for each token of prompt and completion; null without a penalty
  uint64_t* last_kept;         // [rows]: see `Row::keeps`; null without a filter
  Extremes* extremes;          // [rows, blocks]
  Totals* totals;              // [rows, blocks]
  Sampled* sampled;            // [rows]
  uint32_t* tokens;            // [rows]
  double dropped;              // 1 - top_p
  float temperature, penalty, min_p;
  int vocab, top_k, min_new_tokens, max_new_tokens, is_greedy;

  __device__ int words() const { return (vocab + 31) / 32; }
  __device__ int blocks() const { return (vocab + BLOCK - 1) / BLOCK; }
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

__device__ inline bool has(const uint32_t* bits, int id) { return bits[id / 32] >> id % 32 & 1; }

constexpr int ID_BITS = 24;

// Where a token comes in the order of likelihood: the most likely one has the smallest place; of equal ones the last comes
// first, since the first is dropped first. Zeros of both signs are equal.
__device__ inline uint64_t place(float score, int id) {
  const uint32_t bits = __float_as_uint(score == 0 ? 0.0f : score);
  const uint32_t descending = bits >> 31 ? bits : ~bits & 0x7fffffff;
  return uint64_t(descending) << ID_BITS | ((1u << ID_BITS) - 1 - id);
}

// A row that draws token `drawn` of its completion.
struct Row {
  const float* logits;
  const uint32_t* suppressed;
  uint32_t* seen;
  uint64_t last_kept;
  float temperature, penalty, min_p;
  int vocab;

  __device__ Row(const float* logits, const Drawing& drawing, int row, int drawn)
      : logits(logits + int64_t(row) * drawing.vocab),
        suppressed(drawing.suppressed + (drawn < drawing.min_new_tokens ? 0 : drawing.words())),
        seen(drawing.seen ? drawing.seen + int64_t(row) * drawing.words() : nullptr),
        last_kept(drawing.last_kept ? drawing.last_kept[row] : ~uint64_t(0)),
        temperature(drawing.temperature),
        penalty(drawing.penalty),
        min_p(drawing.min_p),
        vocab(drawing.vocab) {}

  // Whether a token of the block that starts at `start` is suppressed; by a whole warp.
  __device__ bool suppresses_any(int start) const {
    const int word = start / 32 + int(threadIdx.x) % 32;
    return __any_sync(~0u, word < (vocab + 31) / 32 && suppressed[word]);
  }

  // What the token of a logit is drawn by: minus infinity where it may not be.
  __device__ float allowed(int id, float logit) const {
    if (has(suppressed, id)) return -INFINITY;
    if (!seen || !has(seen, id)) return logit;
    return logit < 0 ? __fmul_rn(logit, penalty) : __fdiv_rn(logit, penalty);
  }

  __device__ float score(float logit) const { return temperature == 1.0f ? logit : __fdiv_rn(logit, temperature); }

  // Of any logit, under the whole row.
  __device__ float weight(float logit, float largest) const {
    return exp_of_non_positive(__fsub_rn(score(logit), score(largest)));
  }

  // Of a token that may be drawn and is kept by the filters: top-k and top-p keep those up to a place. 0 for all others.
  __device__ float weight_left(int id, float logit, float largest_left) const {
    const float own = score(allowed(id, logit)), weight = exp_of_non_positive(__fsub_rn(own, score(largest_left)));
    return place(own, id) <= last_kept && !(weight < min_p) ? weight : 0.0f;
  }

  // Whether `weight_left` is `weight` for all tokens that are not suppressed, and 0 for those that are.
  __device__ bool is_plain(float largest, float largest_left) const {
    return !seen && last_kept == ~uint64_t(0) && !(min_p > 0) && largest == largest_left;
  }
};

// How many tokens the row has before the one that is drawn; negative where none is.
__device__ inline int n_drawn(const RowState& state, int max_new_tokens, bool is_first) {
  if (!state.is_live(max_new_tokens)) return -1;
  return is_first ? 0 : state.len + 1;
}
