// The matrix product. Both factors are first copied into panels of the kind of number that is summed in, then multiplied
// tile by tile in vector registers. See gemm.h.
#include "libraries/gemm.h"

#include "driver/lock.h"
#include "driver/memory.h"
#include "driver/stream.h"
#include "include/float16.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace blas {
namespace {

using simt::BFloat16Format;
using simt::HalfFormat;

template <class T> T load(const void* at, DataType type, int64_t index) {
  switch (type) {
    case R_64F: return T(static_cast<const double*>(at)[index]);
    case R_32F: return T(static_cast<const float*>(at)[index]);
    case R_16F: return T(HalfFormat::value(static_cast<const uint16_t*>(at)[index]));
    case R_16BF: return T(BFloat16Format::value(static_cast<const uint16_t*>(at)[index]));
  }
  __builtin_unreachable();
}

template <class T> void store(void* at, DataType type, int64_t index, T value) {
  switch (type) {
    case R_64F: static_cast<double*>(at)[index] = value; break;
    case R_32F: static_cast<float*>(at)[index] = float(value); break;
    case R_16F: static_cast<uint16_t*>(at)[index] = HalfFormat::bits(float(value)); break;
    case R_16BF: static_cast<uint16_t*>(at)[index] = BFloat16Format::bits(float(value)); break;
  }
}

constexpr int64_t TILE_ROWS = 32, TILE_COLUMNS = 6;  // 32 x 6 sums in f32 fill 12 of 16 or 32 vector registers

// Panels of `width` lines of a factor (rows of A, columns of B), each k long: panels[panel][k][width]. Missing lines are 0.
template <class T>
void pack(std::vector<T>& panels, const Matrix& matrix, int64_t lines, int64_t k, int64_t line_step, int64_t k_step, int64_t width) {
  panels.resize((lines + width - 1) / width * width * k);
  T* out = panels.data();
  for (int64_t first = 0; first < lines; first += width)
    for (int64_t l = 0; l < k; ++l)
      for (int64_t i = 0; i < width; ++i)
        *out++ = first + i < lines ? load<T>(matrix.at, matrix.type, (first + i) * line_step + l * k_step) : T(0);
}

template <class T> void multiply_one(const Product& p, const Matrix& a, const Matrix& b, void* c, T alpha, T beta) {
  static std::vector<T> left, right;  // one product runs at a time
  pack(left, a, p.m, p.k, a.is_transposed ? a.leading : 1, a.is_transposed ? 1 : a.leading, TILE_ROWS);
  pack(right, b, p.n, p.k, b.is_transposed ? 1 : b.leading, b.is_transposed ? b.leading : 1, TILE_COLUMNS);
  typedef T Rows __attribute__((vector_size(TILE_ROWS * sizeof(T))));
  for (int64_t column = 0; column < p.n; column += TILE_COLUMNS)
    for (int64_t row = 0; row < p.m; row += TILE_ROWS) {
      Rows sums[TILE_COLUMNS] = {};
      const T* x = left.data() + row * p.k;
      const T* y = right.data() + column * p.k;
      for (int64_t l = 0; l < p.k; ++l, x += TILE_ROWS, y += TILE_COLUMNS) {
        Rows rows;
        memcpy(&rows, x, sizeof rows);
        for (int i = 0; i < TILE_COLUMNS; ++i) sums[i] += rows * y[i];
      }
      for (int64_t j = 0; j < std::min(TILE_COLUMNS, p.n - column); ++j)
        for (int64_t i = 0; i < std::min(TILE_ROWS, p.m - row); ++i) {
          const int64_t at = (column + j) * p.c.leading + row + i;
          // With beta 0 what C holds, a NaN too, is not read.
          const T old = beta == T(0) ? T(0) : beta * load<T>(c, p.c.type, at);
          const T bias = p.bias ? load<T>(p.bias, p.c.type, row + i) : T(0);
          store<T>(c, p.c.type, at, alpha * sums[j][i] + old + bias);
        }
    }
}

size_t bytes_of(DataType type) { return type == R_64F ? 8 : type == R_32F ? 4 : 2; }

// The number of bytes that a batch of matrices spans. `rows` and `columns` as stored.
size_t extent(const Matrix& matrix, int64_t rows, int64_t columns, int64_t batch) {
  return (matrix.stride * (batch - 1) + matrix.leading * (columns - 1) + rows) * bytes_of(matrix.type);
}

const void* in_batch(const Matrix& matrix, int64_t index) {
  return static_cast<const char*>(matrix.at) + index * matrix.stride * int64_t(bytes_of(matrix.type));
}

template <class T> void multiply_batch(const Product& p, T alpha, T beta) {
  for (int64_t i = 0; i < p.batch; ++i) {
    Matrix a = p.a, b = p.b;
    a.at = in_batch(p.a, i);
    b.at = in_batch(p.b, i);
    multiply_one<T>(p, a, b, const_cast<void*>(in_batch(p.c, i)), alpha, beta);
  }
}

bool is_known(DataType type) { return type == R_32F || type == R_64F || type == R_16F || type == R_16BF; }

bool is_known(ComputeType type) {
  return type == C_32F || type == C_32F_PEDANTIC || type == C_64F || type == C_32F_FAST_16F || type == C_32F_FAST_16BF ||
         type == C_32F_FAST_TF32;
}

const char* name_of(const Product& p) {
  if (p.compute == C_64F) return "gemm_f64";
  switch (p.a.type) {
    case R_16F: return "gemm_f16";
    case R_16BF: return "gemm_bf16";
    default: return "gemm_f32";
  }
}

}  // namespace

Status multiply(const Product& p) {
  const int64_t a_rows = p.a.is_transposed ? p.k : p.m, a_columns = p.a.is_transposed ? p.m : p.k;
  const int64_t b_rows = p.b.is_transposed ? p.n : p.k, b_columns = p.b.is_transposed ? p.k : p.n;
  if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0) return INVALID;
  if (p.a.leading < std::max<int64_t>(1, a_rows) || p.b.leading < std::max<int64_t>(1, b_rows)) return INVALID;
  if (p.c.leading < std::max<int64_t>(1, p.m)) return INVALID;
  if (!is_known(p.compute) || !is_known(p.a.type) || p.a.type != p.b.type || !is_known(p.c.type)) return NOT_SUPPORTED;
  if ((p.compute == C_64F) != (p.a.type == R_64F)) return NOT_SUPPORTED;
  if (!p.m || !p.n || !p.batch) return OK;
  driver::Locked locked;
  std::vector<driver::AllocationHandle> memory;
  if (p.k) {
    memory.push_back(driver::check_range("a matrix product, reading A,", p.a.at, extent(p.a, a_rows, a_columns, p.batch)));
    memory.push_back(driver::check_range("a matrix product, reading B,", p.b.at, extent(p.b, b_rows, b_columns, p.batch)));
  }
  if (p.bias) memory.push_back(driver::check_range("the bias of a product", p.bias, p.m * bytes_of(p.c.type)));
  memory.push_back(driver::check_range("a matrix product, writing C,", p.c.at, extent(p.c, p.m, p.n, p.batch)));
  const bool in_f64 = p.compute == C_64F;
  const double alpha = in_f64 ? *static_cast<const double*>(p.alpha) : *static_cast<const float*>(p.alpha);
  const double beta = in_f64 ? *static_cast<const double*>(p.beta) : *static_cast<const float*>(p.beta);
  auto run = [=] {
    for (const auto& one : memory) driver::check_still_there("a matrix product", *one);
    if (in_f64) multiply_batch<double>(p, alpha, beta);
    else multiply_batch<float>(p, float(alpha), float(beta));
  };
  const uint64_t multiplications = p.m * p.n * p.k * p.batch;
  driver::submit(driver::stream_of(p.stream), {name_of(p), multiplications, run, driver::Work::PRODUCT});
  return OK;
}

}  // namespace blas
