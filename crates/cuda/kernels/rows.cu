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

__device__ inline void add_to(Piece& sum, const Piece& other) {
#pragma unroll
  for (int j = 0; j < 8; ++j) sum.at[j] += other.at[j];
}

// out[row] = sum of gradient[order[k]] for k from starts[row] to starts[row + 1], one after the other in f32, or zeros; a
// thread for eight columns of a row.
extern "C" __global__ void select_rows_backward(const bf16* gradient, const uint32_t* starts, const uint32_t* order, bf16* out,
                                                int n_rows, int width) {
  const int pieces = (width + 7) / 8;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = item / pieces, i = item % pieces * 8;
  if (row >= n_rows) return;
  Piece sum = {};
  for (uint32_t k = starts[row]; k < starts[row + 1]; ++k)
    add_to(sum, load_piece(gradient + int64_t(order[k]) * width + i, width - i));
  store_piece(out + int64_t(row) * width + i, sum, width - i);
}

// The sum of row(k) for k from `k` to `end`, one after the other. AT_ONCE of them are on their way from memory at the same
// time, as long as nothing branches on their addresses.
template <class Row>
__device__ Piece sum_of_rows(uint32_t k, uint32_t end, Row row) {
  constexpr int AT_ONCE = 8;
  Piece sum = row(k++);
  for (; k + AT_ONCE <= end; k += AT_ONCE) {
    Piece next[AT_ONCE];
#pragma unroll
    for (int r = 0; r < AT_ONCE; ++r) next[r] = row(k + r);
#pragma unroll
    for (int r = 0; r < AT_ONCE; ++r) add_to(sum, next[r]);
  }
  for (; k < end; ++k) add_to(sum, row(k));
  return sum;
}

// out[ids[g]] (+)= sum of rows[order[k]] for k from starts[g] to starts[g + 1], in f32; what is stored in bf16 is rounded once. A
// block for a group g, or for some of its columns; a thread for eight columns.
template <class T, class Sum>
__device__ void add_up_rows(const T* rows, const uint32_t* ids, const uint32_t* starts, const uint32_t* order, Sum* out,
                            int width, int add) {
  const int i = (blockIdx.y * blockDim.x + threadIdx.x) * 8, count = width - i;
  if (count <= 0) return;
  rows += i;
  const uint32_t first = starts[blockIdx.x], end = starts[blockIdx.x + 1];
  Piece sum;
  if (width % 8 == 0 && in_one_access(rows, count))
    sum = sum_of_rows(first, end, [&](uint32_t k) { return load_whole_piece(rows + int64_t(order[k]) * width); });
  else
    sum = sum_of_rows(first, end, [&](uint32_t k) { return load_piece(rows + int64_t(order[k]) * width, count); });
  Sum* to = out + int64_t(ids[blockIdx.x]) * width + i;
  if (add) add_to(sum, load_piece(to, count));
  store_piece(to, sum, count);
}

extern "C" __global__ void add_up_rows_bf16(const bf16* rows, const uint32_t* ids, const uint32_t* starts, const uint32_t* order,
                                            float* out, int width, int add) {
  add_up_rows(rows, ids, starts, order, out, width, add);
}

extern "C" __global__ void add_up_rows_f32(const float* rows, const uint32_t* ids, const uint32_t* starts, const uint32_t* order,
                                           float* out, int width, int add) {
  add_up_rows(rows, ids, starts, order, out, width, add);
}

extern "C" __global__ void add_up_rows_bf16_in_bf16(const bf16* rows, const uint32_t* ids, const uint32_t* starts,
                                                    const uint32_t* order, bf16* out, int width, int add) {
  add_up_rows(rows, ids, starts, order, out, width, add);
}

extern "C" __global__ void add_up_rows_f32_in_bf16(const float* rows, const uint32_t* ids, const uint32_t* starts,
                                                   const uint32_t* order, bf16* out, int width, int add) {
  add_up_rows(rows, ids, starts, order, out, width, add);
}
