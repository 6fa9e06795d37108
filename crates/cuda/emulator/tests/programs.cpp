// Correct programs: each must give the expected result in every order of threads, lazily or not, with poison and guards.
// `programs NAME` runs one. Not here: programs with a fault in them (faults.cpp).
#include "tests/device.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace {

std::vector<float> small_numbers(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& value : values) value = int(random() % 9) - 4;  // sums of these are exact in f32 in any order
  return values;
}

std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (float value : values) {
    uint32_t all;
    memcpy(&all, &value, 4);
    bits.push_back(all >> 16);  // exact for small whole numbers
  }
  return bits;
}

void sums_over_rows() {
  void* stream = new_stream();
  const int n_rows = 37, width = 300;
  const auto x = small_numbers(n_rows * width, 1);
  std::vector<float> expected(n_rows, 0.0f);
  for (int i = 0; i < n_rows * width; ++i) expected[i / width] += x[i];
  const uintptr_t in = upload(x, stream), out = allocate<float>(n_rows, stream);
  launch(reduction("test_sum_rows"), {8, 256}, stream, in, out, n_rows, width);
  expect_equal(download<float>(out, n_rows, stream), expected, "sums over rows");
}

void rotation_within_warps() {
  void* stream = new_stream();
  std::vector<float> x(64), expected(64);
  for (int i = 0; i < 64; ++i) x[i] = i;
  for (int i = 0; i < 64; ++i) expected[i] = i / 32 * 32 + (i + 1) % 32;
  const uintptr_t in = upload(x, stream), out = allocate<float>(64, stream);
  launch(reduction("test_rotate"), {1, 64, 64 * 4}, stream, in, out);
  expect_equal(download<float>(out, 64, stream), expected, "rotation");
}

void shuffles_and_votes() {
  void* stream = new_stream();
  const int n = 32 + 24;  // the second warp has 24 lanes
  std::vector<int> x(n), expected(n);
  for (int i = 0; i < n; ++i) x[i] = i * i % 13 - (i >= 32);
  for (int i = 0; i < n; ++i) {
    const int warp = i / 32 * 32, end = std::min(n, warp + 32), half = i / 16 * 16;
    int odd = 0, any = 0, all = 1;
    for (int j = warp; j < end; ++j) {
      odd += x[j] % 2 != 0;
      any |= x[j] < 0;
      all &= x[j] >= 0;
    }
    int sum = 0;
    for (int j = half; j < half + 16; ++j) sum += j < end ? x[j] : 0;
    if (half + 16 > end) sum = -1;  // asks lanes that have ended: undefined, not compared
    const int before = i > warp ? x[i - 1] : x[i];
    expected[i] = sum + 1000 * x[warp] + 7 * before + odd + 100000 * any + 200000 * all;
    if (half + 16 > end) expected[i] = 0;
  }
  const uintptr_t in = upload(x, stream), out = allocate<int>(n, stream);
  launch(reduction("test_warp_operations"), {1, 64}, stream, in, out, n);
  auto got = download<int>(out, n, stream);
  for (int i = 48; i < n; ++i) got[i] = 0;
  expect_equal(got, expected, "shuffles and votes");
}

void tensor_core_product() {
  void* stream = new_stream();
  const int m = 128, n = 64, k = 160;
  const auto a = small_numbers(m * k, 2), b = small_numbers(n * k, 3);
  std::vector<float> expected(m * n, 0.0f);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int l = 0; l < k; ++l) expected[i * n + j] += a[i * k + l] * b[j * k + l];
  const uintptr_t da = upload(to_bf16(a), stream), db = upload(to_bf16(b), stream), dc = allocate<float>(m * n, stream);
  launch(product("test_product"), {n / 64, 128, 0, m / 64}, stream, da, db, dc, n, k);
  expect_equal(download<float>(dc, m * n, stream), expected, "product with tensor cores");
}

// One stream makes x, another uses it after an event; a third gives the memory back after the second.
void streams_that_wait() {
  void *a = new_stream(), *b = new_stream(), *c = new_stream(), *made, *used;
  ok(cuEventCreate(&made, 2));
  ok(cuEventCreate(&used, 2));
  void* affine = reduction("test_affine");
  const int n = 1000;
  const uintptr_t x = upload(std::vector<float>(n, 1.0f), a), y = allocate<float>(n, a);
  launch(affine, {4, 256}, a, x, x, 2.0f, 1.0f, 0, n);
  ok(cuEventRecord(made, a));
  ok(cuStreamWaitEvent(b, made, 0));
  launch(affine, {4, 256}, b, x, y, 10.0f, 0.0f, 0, n);
  ok(cuEventRecord(used, b));
  ok(cuStreamWaitEvent(c, used, 0));
  ok(cuMemFreeAsync(x, c));
  expect_equal(download<float>(y, n, b), std::vector<float>(n, 30.0f), "streams that wait");
  ok(cuStreamSynchronize(c));
}

// A ring in pinned memory that the host reads after an event, polled.
void pinned_memory() {
  void *stream = new_stream(), *event;
  ok(cuEventCreate(&event, 2));
  const int n = 100;
  auto *up = pinned<float>(n), *down = pinned<float>(n);
  std::fill_n(up, n, 3.0f);
  const uintptr_t x = allocate<float>(n, stream);
  ok(cuMemcpyHtoDAsync_v2(x, up, n * 4, stream));
  launch(reduction("test_affine"), {1, 128}, stream, x, x, 2.0f, 1.0f, 0, n);
  ok(cuMemcpyDtoHAsync_v2(down, x, n * 4, stream));
  ok(cuEventRecord(event, stream));
  while (cuEventQuery(event) != 0) continue;
  up[0] = 100;
  expect_equal(std::vector<float>(down, down + n), std::vector<float>(n, 7.0f), "pinned memory");
}

// A kernel works on the host's own memory, through a part of it.
void registered_memory() {
  void* stream = new_stream();
  const int n = 100;
  std::vector<float> numbers(n, 3.0f);
  ok(cuMemHostRegister_v2(numbers.data(), n * 4, 3));
  expect(cuMemHostRegister_v2(numbers.data() + n / 2, 4, 3) == 712, "memory is registered once");
  uintptr_t x;
  ok(cuMemHostGetDevicePointer_v2(&x, numbers.data() + 1, 0));
  launch(reduction("test_affine"), {1, 128}, stream, x, x, 2.0f, 1.0f, 0, n - 1);
  ok(cuStreamSynchronize(stream));
  ok(cuMemHostUnregister(numbers.data()));
  expect(cuMemHostUnregister(numbers.data()) == 713, "memory is registered no longer");
  std::vector<float> expected(n, 7.0f);
  expected[0] = 3;
  expect_equal(numbers, expected, "registered memory");
}

void graph_replays() {
  void *stream = new_stream(), *graph, *executable;
  void* affine = reduction("test_affine");
  const int n = 500;
  const uintptr_t x = upload(std::vector<float>(n, 1.0f), stream);
  float factor = 2;
  ok(cuStreamBeginCapture_v2(stream, 2));
  launch(affine, {2, 256}, stream, x, x, factor, 1.0f, 0, n);
  ok(cuStreamEndCapture(stream, &graph));
  ok(cuGraphInstantiateWithFlags(&executable, graph, 0));
  factor = 1000;  // arguments were copied in the capture
  const double before = is_emulated() ? emulator_counter("allocations") : 0;
  for (int i = 0; i < 3; ++i) ok(cuGraphLaunch(executable, stream));
  expect_equal(download<float>(x, n, stream), std::vector<float>(n, 15.0f), "three replays");
  if (!is_emulated()) return;
  expect(emulator_counter("allocations") == before, "a replay allocates nothing");
  expect(emulator_counter("launches") == 3 && emulator_counter("graph_launches") == 3, "launches in graphs are counted");
}

// C += A B in batches, bf16 factors and an f32 result, as a gradient is accumulated. Column major.
void gradient_accumulation() {
  void *stream = new_stream(), *blas;
  ok(cublasCreate_v2(&blas));
  ok(cublasSetStream_v2(blas, stream));
  const int m = 33, n = 7, k = 50, batch = 3, bf16 = 14, f32 = 0, sum_in_f32 = 68;
  const auto a = small_numbers(batch * m * k, 4), b = small_numbers(batch * n * k, 5);
  const std::vector<float> c(batch * m * n, 100.0f);
  for (int ta = 0; ta < 2; ++ta)
    for (int tb = 0; tb < 2; ++tb) {
      std::vector<float> expected = c;
      for (int i = 0; i < batch; ++i)
        for (int row = 0; row < m; ++row)
          for (int column = 0; column < n; ++column)
            for (int l = 0; l < k; ++l)
              expected[(i * n + column) * m + row] +=
                  a[i * m * k + (ta ? row * k + l : l * m + row)] * b[i * n * k + (tb ? l * n + column : column * k + l)];
      const uintptr_t da = upload(to_bf16(a), stream), db = upload(to_bf16(b), stream), dc = upload(c, stream);
      const float one = 1;
      ok(cublasGemmStridedBatchedEx(blas, ta, tb, m, n, k, &one, reinterpret_cast<void*>(da), bf16, ta ? k : m, m * k,
                                    reinterpret_cast<void*>(db), bf16, tb ? n : k, n * k, &one, reinterpret_cast<void*>(dc),
                                    f32, m, m * n, batch, sum_in_f32, 0));
      expect_equal(download<float>(dc, c.size(), stream), expected, "accumulated product");
    }
}

void counters_and_peak() {
  if (!is_emulated()) exit(NOT_ON_A_REAL_DEVICE);
  void* stream = new_stream();
  emulator_reset_peak();
  const uintptr_t x = allocate<char>(1000, stream), y = allocate<char>(500, stream);
  ok(cuMemFreeAsync(x, stream));
  const uintptr_t z = allocate<char>(400, stream);
  expect(emulator_counter("peak_bytes") == 1500 && emulator_counter("live_bytes") == 900, "bytes now and at the peak");
  size_t free_bytes, total_bytes;
  ok(cuMemGetInfo_v2(&free_bytes, &total_bytes));
  expect(total_bytes - free_bytes == 900, "free memory");
  const double blocking = emulator_counter("blocking_downloads");
  ok(cuMemcpyHtoDAsync_v2(y, "12345", 5, stream));
  download<char>(y, 5, stream);
  auto* ring = pinned<char>(5);
  ok(cuMemcpyDtoHAsync_v2(ring, y, 5, stream));
  ok(cuStreamSynchronize(stream));
  expect(emulator_counter("uploads") == 1 && emulator_counter("downloads") == 2, "copies");
  expect(emulator_counter("blocking_downloads") == blocking + 1, "downloads to pinned memory do not block");
  expect(emulator_counter("synchronizations") == 1, "synchronisations");
  ok(cuMemFreeAsync(y, stream));
  ok(cuMemFreeAsync(z, stream));
}

void most_shared_memory() {
  void* stream = new_stream();
  void* rotate = reduction("test_rotate");
  ok(cuFuncSetAttribute(rotate, MAX_DYNAMIC_SHARED_BYTES, 227 << 10));
  const uintptr_t x = upload(std::vector<float>(32, 5.0f), stream), y = allocate<float>(32, stream);
  launch(rotate, {1, 32, 227 << 10}, stream, x, y);
  expect_equal(download<float>(y, 32, stream), std::vector<float>(32, 5.0f), "227 KB of shared memory");
}

void kernel_that_begins_early() {
  void* stream = new_stream();
  void* add = reduction("test_add_early");
  const uintptr_t x = upload(std::vector<float>(64, 1.0f), stream);
  launch(add, {1, 64}, stream, x, 2.0f);
  for (int i = 0; i < 3; ++i) launch_early(add, {1, 64}, stream, x, 3.0f);
  expect_equal(download<float>(x, 64, stream), std::vector<float>(64, 12.0f), "sum");
}

constexpr Case CASES[] = {
    {"sums over rows", sums_over_rows},
    {"rotation within warps", rotation_within_warps},
    {"shuffles and votes", shuffles_and_votes},
    {"tensor core product", tensor_core_product},
    {"streams that wait", streams_that_wait},
    {"pinned memory", pinned_memory},
    {"registered memory", registered_memory},
    {"graph replays", graph_replays},
    {"gradient accumulation", gradient_accumulation},
    {"counters and peak", counters_and_peak},
    {"most shared memory", most_shared_memory},
    {"a kernel that begins early", kernel_that_begins_early},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2) return run_case(CASES, std::size(CASES), argv[1]);
  for (const Case& one : CASES) puts(one.name);
  return 0;
}
