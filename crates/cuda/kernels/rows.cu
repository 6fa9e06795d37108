// Rows of a table: copied by their numbers, and added up by them in a fixed order.
// Not here: checking the numbers and grouping them, which the host does.
#include "pieces.cuh"

// out[k] = table[ids[k]], rows of `width` numbers; a thread for eight of them.
extern "C" __global__ void select_rows(const bf16* table, const uint32_t* ids, bf16* out, int n, int width) {
  const int pieces = (width + 7) / 8;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  const int k = item / pieces, i = item % pieces * 8;
  if (k >= n) return;
  store_piece(out + int64_t(k) * width + i, load_piece(table + int64_t(ids[k]) * width + i, width - i), width - i);
}

// out[ids[g]] (+)= sum of rows[order[k]] for k from starts[g] to starts[g + 1], one after the other in f32. A block for a group
// g, or for some of its columns; a thread for eight columns. Four rows at a time are on their way from memory.
template <class In, class Out>
__device__ void add_up_rows(const In* rows, const uint32_t* ids, const uint32_t* starts, const uint32_t* order, Out* out, int width,
                            bool add) {
  const int i = (blockIdx.y * blockDim.x + threadIdx.x) * 8, count = width - i;
  if (count <= 0) return;
  Out* to = out + int64_t(ids[blockIdx.x]) * width + i;
  const auto row = [&](uint32_t k) { return load_piece(rows + int64_t(order[k]) * width + i, count); };
  uint32_t k = starts[blockIdx.x];
  const uint32_t end = starts[blockIdx.x + 1];
  Piece sum = row(k++);
  for (; k + 4 <= end; k += 4) {
    const Piece next[4] = {row(k), row(k + 1), row(k + 2), row(k + 3)};
    for (int r = 0; r < 4; ++r)
      for (int j = 0; j < 8; ++j) sum.at[j] += next[r].at[j];
  }
  for (; k < end; ++k) {
    const Piece next = row(k);
    for (int j = 0; j < 8; ++j) sum.at[j] += next.at[j];
  }
  if (add) {
    const Piece before = load_piece(to, count);
    for (int j = 0; j < 8; ++j) sum.at[j] += before.at[j];
  }
  store_piece(to, sum, count);
}

// Into rows of bf16, which are overwritten.
extern "C" __global__ void add_up_rows_to_bf16(const bf16* rows, const uint32_t* ids, const uint32_t* starts, const uint32_t* order,
                                               bf16* out, int width) {
  add_up_rows(rows, ids, starts, order, out, width, false);
}

// Into rows of f32, which are added to.
extern "C" __global__ void accumulate_rows_bf16(const bf16* rows, const uint32_t* ids, const uint32_t* starts,
                                                const uint32_t* order, float* out, int width) {
  add_up_rows(rows, ids, starts, order, out, width, true);
}

extern "C" __global__ void accumulate_rows_f32(const float* rows, const uint32_t* ids, const uint32_t* starts,
                                               const uint32_t* order, float* out, int width) {
  add_up_rows(rows, ids, starts, order, out, width, true);
}
