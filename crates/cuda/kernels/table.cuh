// Tables of launches that serve many arrays: a row for each, over which the launch's blocks are shared out.
// Not here: what a row says of its array.
#pragma once
#include <cstdint>

// At most as many of an array's elements are one block's (SHARE in src/table.rs).
constexpr int SHARE = 1 << 15;

// Row in src/table.rs. Its blocks are those from `first_block` on, one for each share of its `n` elements. `aligned`: whether
// all of its arrays start where four of their numbers are one access to memory.
template <class Of>
struct Row {
  Of of;
  int64_t n;
  int first_block, aligned;
};

// The row that this block works for: the last one whose first block is not behind it.
template <class Of>
__device__ inline const Row<Of>& row_of_block(const Row<Of>* rows, int n_rows) {
  int found = 0;
  for (int behind = n_rows; behind - found > 1;) {
    const int middle = (found + behind) / 2;
    if (rows[middle].first_block <= int(blockIdx.x)) found = middle;
    else behind = middle;
  }
  return rows[found];
}
