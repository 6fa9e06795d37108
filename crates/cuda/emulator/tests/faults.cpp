// Programs with one fault each. `faults NAME` runs one; `faults` lists them with what must come of them, in some order of
// threads: `wrong result`, an error of the driver, or a fault that the device names. Not here: correct programs (programs.cpp).
#include "tests/device.h"

#include <algorithm>
#include <iterator>

namespace {

void sum_rows_with(const char* kernel) {
  void* stream = new_stream();
  const int n_rows = 6, width = 256;
  std::vector<float> x(n_rows * width), expected(n_rows, 0.0f);
  for (int i = 0; i < n_rows * width; ++i) expected[i / width] += x[i] = i % 7 + i / width;
  const uintptr_t in = upload(x, stream), out = allocate<float>(n_rows, stream);
  launch(reduction(kernel), {2, 256}, stream, in, out, n_rows, width);
  expect_equal(download<float>(out, n_rows, stream), expected, kernel);
}
void missing_barrier_before_tree() { sum_rows_with("test_sum_rows_no_barrier_before_tree"); }
void missing_barrier_in_tree() { sum_rows_with("test_sum_rows_no_barrier_in_tree"); }
void missing_trailing_barrier() { sum_rows_with("test_sum_rows_no_trailing_barrier"); }

void missing_syncwarp() {
  void* stream = new_stream();
  std::vector<float> x(32), expected(32);
  for (int i = 0; i < 32; ++i) x[i] = i, expected[i] = (i + 1) % 32;
  const uintptr_t in = upload(x, stream), out = allocate<float>(32, stream);
  launch(reduction("test_rotate_no_syncwarp"), {1, 32, 128}, stream, in, out);
  expect_equal(download<float>(out, 32, stream), expected, "rotation");
}

// All ones, so that the right result is k everywhere; the tiles differ by a factor of 2.
void product_with(const char* kernel) {
  void* stream = new_stream();
  const int m = 64, n = 64, k = 128;
  std::vector<uint16_t> a(m * k), b(n * k, 0x3f80);  // 1
  for (int i = 0; i < m * k; ++i) a[i] = 0x3f80 + (i % k / 32) * 0x80;  // 1, 2, 4, 8 by tile
  const uintptr_t da = upload(a, stream), db = upload(b, stream), dc = allocate<float>(m * n, stream);
  launch(product(kernel), {1, 128}, stream, da, db, dc, n, k);
  expect_equal(download<float>(dc, m * n, stream), std::vector<float>(m * n, 32.0f * (1 + 2 + 4 + 8)), kernel);
}
void weak_copy_wait() { product_with("test_product_weak_wait"); }
void buffer_filled_while_read() { product_with("test_product_no_trailing_barrier"); }
void misaligned_matrix_load() { product_with("test_product_misaligned"); }

void affine_from(int first) {
  void* stream = new_stream();
  const int n = 1024;
  const uintptr_t x = upload(std::vector<float>(n, 1.0f), stream), y = allocate<float>(n, stream);
  launch(reduction("test_affine"), {4, 256}, stream, x, y, 2.0f, 0.0f, first, n);
  expect_equal(download<float>(y, n, stream), std::vector<float>(n, 2.0f), "affine");
}
void read_past_the_end() { affine_from(1); }
void read_before_the_beginning() { affine_from(-1); }

void write_from(int first, int n) {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(n, stream);
  launch(reduction("test_write"), {1, 256}, stream, x, first, n);
  ok(cuMemFreeAsync(x, stream));
  ok(cuStreamSynchronize(stream));
}
void write_past_the_end() { write_from(1, 256); }
void write_into_the_padding() { write_from(1, 253); }  // found by the bytes there, when the memory is freed

void uninitialised_memory() {
  void* stream = new_stream();
  const uintptr_t sums = allocate<float>(100, stream);  // a caller that forgot to clear it
  launch(reduction("test_affine"), {1, 128}, stream, sums, sums, 1.0f, 1.0f, 0, 100);
  expect_equal(download<float>(sums, 100, stream), std::vector<float>(100, 1.0f), "sum");
}

void uninitialised_shared_memory() {
  void* stream = new_stream();
  const uintptr_t out = allocate<float>(1, stream);
  launch(reduction("test_shared_start"), {1, 32}, stream, out, 0);
  expect_equal(download<float>(out, 1, stream), {1.5f}, "sum");
}

void stream_without_event() {
  void *a = new_stream(), *b = new_stream();
  void* affine = reduction("test_affine");
  const uintptr_t x = upload(std::vector<float>(100, 1.0f), a);
  launch(affine, {1, 128}, a, x, x, 2.0f, 0.0f, 0, 100);
  launch(affine, {1, 128}, b, x, x, 1.0f, 1.0f, 0, 100);
  ok(cuStreamSynchronize(a));
  expect_equal(download<float>(x, 100, b), std::vector<float>(100, 3.0f), "two streams");
}

void pinned_memory_read_too_early() {
  void* stream = new_stream();
  const uintptr_t x = upload(std::vector<float>(10, 4.0f), stream);
  auto* down = pinned<float>(10);
  ok(cuMemcpyDtoHAsync_v2(down, x, 40, stream));
  expect_equal(std::vector<float>(down, down + 10), std::vector<float>(10, 4.0f), "pinned memory");
}

void pinned_memory_changed_too_early() {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(10, stream);
  auto* up = pinned<float>(10);
  std::fill_n(up, 10, 4.0f);
  ok(cuMemcpyHtoDAsync_v2(x, up, 40, stream));
  std::fill_n(up, 10, 5.0f);  // for the next step, while the copy is under way
  expect_equal(download<float>(x, 10, stream), std::vector<float>(10, 4.0f), "upload");
}

void use_after_free() {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(100, stream);
  ok(cuMemFreeAsync(x, stream));
  launch(reduction("test_write"), {1, 128}, stream, x, 0, 100);
}

void free_in_another_stream() {
  void *a = new_stream(), *b = new_stream();
  const uintptr_t x = allocate<float>(100, a);
  launch(reduction("test_write"), {1, 128}, a, x, 0, 100);
  ok(cuMemFreeAsync(x, b));  // without waiting for `a`
  ok(cuStreamSynchronize(b));
  ok(cuStreamSynchronize(a));
}

void double_free() {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(100, stream);
  ok(cuMemFreeAsync(x, stream));
  ok(cuMemFreeAsync(x, stream));
}

// test.sh gives the device 1 MB for this.
void out_of_memory() {
  void* stream = new_stream();
  allocate<char>(900 << 10, stream);
  allocate<char>(200 << 10, stream);
}

void too_much_dynamic_shared_memory() {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(32, stream);
  launch(reduction("test_rotate"), {1, 32, 49 << 10}, stream, x, x);  // more than 48 KB must be asked for first
}

void too_much_shared_memory() {
  void* stream = new_stream();
  void* large = reduction("test_large_shared");
  ok(cuFuncSetAttribute(large, MAX_DYNAMIC_SHARED_BYTES, 200 << 10));
  const uintptr_t x = allocate<float>(32, stream);
  launch(large, {1, 32, 200 << 10}, stream, x);  // and 44 KB of variables
  ok(cuStreamSynchronize(stream));
}

void launch_on_floats(const char* kernel) {
  void* stream = new_stream();
  const uintptr_t x = upload(std::vector<float>(64, 1.0f), stream);
  launch(reduction(kernel), {1, 64}, stream, x);
  ok(cuStreamSynchronize(stream));
}
void lane_outside_mask() { launch_on_floats("test_lane_outside_mask"); }
void divergent_barrier() { launch_on_floats("test_divergent_barrier"); }
void shuffle_in_a_branch() { launch_on_floats("test_shuffle_in_a_branch"); }

// Lanes 0 to 15 ask lane 16, which waits with a mask of its own and has ended when they meet.
void different_masks() {
  void* stream = new_stream();
  const uintptr_t x = upload(std::vector<float>(32, 1.0f), stream);
  launch(reduction("test_different_masks"), {1, 32}, stream, x);
  expect_equal(download<float>(x, 32, stream), std::vector<float>(32, 1.0f), "shuffle");
}

void failed_assertion() {
  void* stream = new_stream();
  const uintptr_t x = upload(std::vector<float>{1, 2, -3}, stream);
  launch(reduction("test_assertion"), {1, 32}, stream, x, 3);
  ok(cuStreamSynchronize(stream));
}

void copy_past_the_end() {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(10, stream);
  download<float>(x, 11, stream);
}

void product_past_the_end() {
  void *stream = new_stream(), *blas;
  ok(cublasCreate_v2(&blas));
  ok(cublasSetStream_v2(blas, stream));
  const uintptr_t x = upload(std::vector<float>(16 * 16, 1.0f), stream), c = allocate<float>(16 * 16, stream);
  const float one = 1, zero = 0;
  ok(cublasGemmStridedBatchedEx(blas, 0, 0, 16, 16, 17, &one, reinterpret_cast<void*>(x), 0, 16, 0, reinterpret_cast<void*>(x),
                                0, 17, 0, &zero, reinterpret_cast<void*>(c), 0, 16, 0, 1, 68, 0));
}

void allocation_in_a_capture() {
  void *stream = new_stream(), *graph, *executable;
  ok(cuStreamBeginCapture_v2(stream, 2));
  ok(cuMemFreeAsync(allocate<float>(100, stream), stream));
  ok(cuStreamEndCapture(stream, &graph));
  ok(cuGraphInstantiateWithFlags(&executable, graph, 0));
}

void pageable_upload_in_a_capture() {
  void *stream = new_stream(), *graph, *executable;
  const uintptr_t x = allocate<float>(1, stream);
  ok(cuStreamBeginCapture_v2(stream, 2));
  const float gone_by_the_replay = 1;
  ok(cuMemcpyHtoDAsync_v2(x, &gone_by_the_replay, 4, stream));
  ok(cuStreamEndCapture(stream, &graph));
  ok(cuGraphInstantiateWithFlags(&executable, graph, 0));
}

void synchronisation_in_a_capture() {
  void *stream = new_stream(), *graph;
  ok(cuStreamBeginCapture_v2(stream, 2));
  if (error_name(cuStreamSynchronize(stream)) != "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED") return;
  ok(cuStreamEndCapture(stream, &graph));
}

void replay_after_free() {
  void *stream = new_stream(), *graph, *executable;
  const uintptr_t x = allocate<float>(100, stream);
  ok(cuStreamBeginCapture_v2(stream, 2));
  launch(reduction("test_write"), {1, 128}, stream, x, 0, 100);
  ok(cuStreamEndCapture(stream, &graph));
  ok(cuGraphInstantiateWithFlags(&executable, graph, 0));
  ok(cuMemFreeAsync(x, stream));
  ok(cuGraphLaunch(executable, stream));
  ok(cuStreamSynchronize(stream));
}

void empty_grid() {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(1, stream);
  launch(reduction("test_write"), {0, 32}, stream, x, 0, 0);
}

// Two launches of a kernel that adds, the second of which may begin early.
void add_with(const char* kernel) {
  void* stream = new_stream();
  const uintptr_t x = upload(std::vector<float>(64, 1.0f), stream);
  launch(reduction(kernel), {1, 64}, stream, x, 2.0f);
  launch_early(reduction(kernel), {1, 64}, stream, x, 3.0f);
  expect_equal(download<float>(x, 64, stream), std::vector<float>(64, 6.0f), "sum");
}
void read_before_the_wait() { add_with("test_add_too_early"); }
void no_wait() { add_with("test_add_no_wait"); }

// 44 KB of variables and 8 KB of dynamic memory, which nobody asked for.
void shared_memory_not_asked_for() {
  void* stream = new_stream();
  const uintptr_t x = allocate<float>(32, stream);
  launch(reduction("test_large_shared"), {1, 32, 8 << 10}, stream, x);
  ok(cuStreamSynchronize(stream));
}

void unknown_kernel() { reduction("test_sum_columns"); }

struct Fault {
  Case program;
  const char* expected;  // what standard error holds
};
constexpr Fault FAULTS[] = {
    {{"missing barrier before a tree", missing_barrier_before_tree}, "wrong result"},
    {{"missing barrier inside a tree", missing_barrier_in_tree}, "wrong result"},
    {{"missing trailing barrier", missing_trailing_barrier}, "wrong result"},
    {{"missing __syncwarp", missing_syncwarp}, "wrong result"},
    {{"cp.async wait too weak", weak_copy_wait}, "wrong result"},
    {{"cp.async into a buffer that is read", buffer_filled_while_read}, "wrong result"},
    {{"misaligned ldmatrix", misaligned_matrix_load}, "misaligned address"},
    {{"read past the end", read_past_the_end}, "read past the end: 0 bytes behind an allocation of 4096 bytes in kernel"},
    {{"read before the beginning", read_before_the_beginning}, "read before the beginning: 4 bytes in front of an allocation"},
    {{"write past the end", write_past_the_end}, "write past the end: 0 bytes behind an allocation of 1024 bytes in kernel"},
    {{"write into the padding", write_into_the_padding}, "write past the end: byte 0 behind"},
    {{"read before the wait for kernels ahead", read_before_the_wait}, "too early: read of what a kernel ahead may still write"},
    {{"no wait for kernels ahead", no_wait}, "missing wait"},
    {{"shared memory not asked for", shared_memory_not_asked_for}, "too much shared memory"},
    {{"uninitialised memory", uninitialised_memory}, "wrong result"},
    {{"uninitialised shared memory", uninitialised_shared_memory}, "wrong result"},
    {{"stream that does not wait for an event", stream_without_event}, "wrong result"},
    {{"pinned memory read too early", pinned_memory_read_too_early}, "wrong result"},
    {{"pinned memory changed too early", pinned_memory_changed_too_early}, "wrong result"},
    {{"use after free", use_after_free}, "use after free: argument 0 of kernel test_write"},
    {{"free in a stream that does not wait", free_in_another_stream}, "use after free: kernel test_write"},
    {{"double free", double_free}, "double free"},
    {{"out of memory", out_of_memory}, "error: CUDA_ERROR_OUT_OF_MEMORY"},
    {{"too much dynamic shared memory", too_much_dynamic_shared_memory}, "error: CUDA_ERROR_INVALID_VALUE"},
    {{"too much shared memory together", too_much_shared_memory}, "too much shared memory"},
    {{"lane outside its mask", lane_outside_mask}, "lane outside its mask"},
    {{"lanes with different masks", different_masks}, "wrong result"},
    {{"divergent barrier", divergent_barrier}, "divergent barrier"},
    {{"shuffle in a branch of half a warp", shuffle_in_a_branch}, "deadlock"},
    {{"failed assertion", failed_assertion}, "device assertion"},
    {{"copy past the end", copy_past_the_end}, "past the end: a copy from the device"},
    {{"matrix product past the end", product_past_the_end}, "past the end: a matrix product, reading A"},
    {{"allocation in a capture", allocation_in_a_capture}, "not emulated: a graph that allocates memory"},
    {{"pageable upload in a capture", pageable_upload_in_a_capture}, "not emulated: a graph that copies from or to pageable"},
    {{"synchronisation in a capture", synchronisation_in_a_capture}, "error: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {{"replay of a graph whose memory was freed", replay_after_free}, "use after free: kernel test_write"},
    {{"empty grid", empty_grid}, "error: CUDA_ERROR_INVALID_VALUE"},
    {{"unknown kernel", unknown_kernel}, "error: CUDA_ERROR_NOT_FOUND"},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    for (const Fault& fault : FAULTS) printf("%s\t%s\n", fault.program.name, fault.expected);
    return 0;
  }
  Case cases[std::size(FAULTS)];
  for (size_t i = 0; i < std::size(FAULTS); ++i) cases[i] = FAULTS[i].program;
  return run_case(cases, std::size(cases), argv[1]);
}
