// What a linear map needs beside matrix products.
// Not here: the sum over rows that is a bias's gradient (reduce.cu).
#include "common.cuh"

// out[r][i] = row[i] for every row r; a thread has eight columns, and every n-th row for n blocks along y.
extern "C" __global__ void repeat_row(const bf16* row, bf16* out, int n_rows, int width) {
  const int first = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
  const int count = min(8, width - first);
  if (count <= 0) return;
  Eight numbers;
  for (int j = 0; j < 8; ++j) numbers.at[j] = row[first + min(j, count - 1)];
  for (int r = blockIdx.y; r < n_rows; r += gridDim.y) {
    bf16* to = out + int64_t(r) * width + first;
    if (width % 8 == 0) {
      store_eight(to, numbers);
    } else {
      for (int j = 0; j < 8; ++j)
        if (j < count) to[j] = numbers.at[j];
    }
  }
}
