// What a step of decoding knows of each row.
// Not here: the kernels of a step (decode_*.cu), who fills it in (decode/state.rs).
#pragma once
#include "common.cuh"
#include "philox.cuh"

struct RowState {
  const bf16* prompt;  // keys and values of its prompt: `[layers, 2, prompt_len, kv_heads, head_dim]`
  int prompt_len;
  int len;             // tokens of the completion whose keys and values are kept
  int is_taken;        // whether a completion is in this row
  Stream stream;       // where its random numbers come from

  // Whether it takes part in the step that adds token `len`.
  __device__ bool is_live(int max_new_tokens) const { return is_taken && len < max_new_tokens; }
};
