// Questions to the driver that its documentation leaves open. Beside each is what the emulated device answers: what a real one
// said (driver 580.159.04 on an H200, on 2026-11-27). Prints a line `QUESTION<tab>EMULATED ANSWER<tab>ANSWER`
// for each; code 1 if any differ, as those of another driver may.
// Not here: what programs compute (programs.cpp).
#include "tests/device.h"

#include <iterator>

extern "C" {
int cuMemAlloc_v2(uintptr_t*, size_t);
int cuMemFree_v2(uintptr_t);
int cuMemsetD8Async(uintptr_t, unsigned char, size_t, void*);
int cuEventElapsedTime(float*, void*, void*);
int cuStreamQuery(void*);
}

namespace {

constexpr int RELAXED = 2;              // CU_STREAM_CAPTURE_MODE_RELAXED, as cudarc's callers ask for
constexpr unsigned DISABLE_TIMING = 2;  // CU_EVENT_DISABLE_TIMING

void* capturing() {
  void* stream = new_stream();
  ok(cuStreamBeginCapture_v2(stream, RELAXED));
  return stream;
}
// What the end of a capture says after `answer`.
std::string then_end(void* stream, int answer) {
  void* graph;
  const int end = cuStreamEndCapture(stream, &graph);
  return error_name(answer) + ", then " + error_name(end);
}
void* event(unsigned flags) {
  void* made;
  ok(cuEventCreate(&made, flags));
  return made;
}

std::string zero_size_allocation() {
  uintptr_t x = 0;
  return error_name(cuMemAllocAsync(&x, 0, new_stream()));
}
std::string address_of_a_zero_size_allocation() {
  uintptr_t x = 1;
  cuMemAllocAsync(&x, 0, new_stream());
  return x == 0 ? "null" : x == 1 ? "unchanged" : "an address";
}
std::string zero_size_blocking_allocation() {
  uintptr_t x = 0;
  return error_name(cuMemAlloc_v2(&x, 0));
}
std::string zero_size_upload() {
  void* stream = new_stream();
  const char byte = 0;
  return error_name(cuMemcpyHtoDAsync_v2(allocate<char>(1, stream), &byte, 0, stream));
}
std::string zero_size_upload_to_null() {
  const char byte = 0;
  return error_name(cuMemcpyHtoDAsync_v2(0, &byte, 0, new_stream()));
}
std::string zero_size_fill() {
  void* stream = new_stream();
  return error_name(cuMemsetD8Async(allocate<char>(1, stream), 0, 0, stream));
}
std::string free_of_null() { return error_name(cuMemFree_v2(0)); }
std::string asynchronous_free_of_null() { return error_name(cuMemFreeAsync(0, new_stream())); }

std::string allocation_in_a_capture() {
  void* stream = capturing();
  uintptr_t x = 0;
  return then_end(stream, cuMemAllocAsync(&x, 1000, stream));
}
std::string allocation_and_free_in_a_capture() {
  void* stream = capturing();
  uintptr_t x = 0;
  ok(cuMemAllocAsync(&x, 1000, stream));
  return then_end(stream, cuMemFreeAsync(x, stream));
}
std::string zero_size_allocation_in_a_capture() {
  void* stream = capturing();
  uintptr_t x = 0;
  return then_end(stream, cuMemAllocAsync(&x, 0, stream));
}
std::string blocking_allocation_in_a_capture() {
  void* stream = capturing();
  uintptr_t x = 0;
  return then_end(stream, cuMemAlloc_v2(&x, 1000));
}
std::string pinned_allocation_in_a_capture() {
  void *stream = capturing(), *x;
  return then_end(stream, cuMemHostAlloc(&x, 1000, 0));
}
std::string free_in_a_capture_of_memory_from_outside() {
  void* other = new_stream();
  const uintptr_t x = allocate<char>(1000, other);
  ok(cuStreamSynchronize(other));
  void* stream = capturing();
  return then_end(stream, cuMemFreeAsync(x, stream));
}
std::string synchronisation_in_a_capture() {
  void* stream = capturing();
  return then_end(stream, cuStreamSynchronize(stream));
}
std::string query_in_a_capture() {
  void* stream = capturing();
  return then_end(stream, cuStreamQuery(stream));
}
std::string pageable_upload_in_a_capture() {
  void* other = new_stream();
  const uintptr_t x = allocate<char>(16, other);
  ok(cuStreamSynchronize(other));
  void* stream = capturing();
  static char bytes[16];
  return then_end(stream, cuMemcpyHtoDAsync_v2(x, bytes, 16, stream));
}
std::string pageable_download_in_a_capture() {
  void* other = new_stream();
  const uintptr_t x = allocate<char>(16, other);
  ok(cuStreamSynchronize(other));
  void* stream = capturing();
  static char bytes[16];
  return then_end(stream, cuMemcpyDtoHAsync_v2(bytes, x, 16, stream));
}
std::string query_of_an_event_of_a_capture() {
  void *stream = capturing(), *recorded = event(DISABLE_TIMING);
  ok(cuEventRecord(recorded, stream));
  return then_end(stream, cuEventQuery(recorded));
}
std::string wait_for_an_event_of_a_capture() {
  void *stream = capturing(), *recorded = event(DISABLE_TIMING);
  ok(cuEventRecord(recorded, stream));
  return then_end(stream, cuEventSynchronize(recorded));
}
std::string query_of_an_event_of_an_ended_capture() {
  void *stream = capturing(), *recorded = event(DISABLE_TIMING), *graph;
  ok(cuEventRecord(recorded, stream));
  ok(cuStreamEndCapture(stream, &graph));
  return error_name(cuEventQuery(recorded));
}
std::string wait_for_an_event_from_outside_a_capture() {
  void *other = new_stream(), *recorded = event(DISABLE_TIMING);
  ok(cuEventRecord(recorded, other));
  void* stream = capturing();
  return then_end(stream, cuStreamWaitEvent(stream, recorded, 0));
}
std::string matrix_product_in_a_capture() {
  void *stream = new_stream(), *blas;
  ok(cublasCreate_v2(&blas));
  const auto x = reinterpret_cast<void*>(upload(std::vector<float>(256, 1.0f), stream));
  ok(cuStreamSynchronize(stream));
  ok(cuStreamBeginCapture_v2(stream, RELAXED));
  ok(cublasSetStream_v2(blas, stream));
  const float one = 1, zero = 0;
  return then_end(stream, cublasGemmStridedBatchedEx(blas, 0, 0, 16, 16, 16, &one, x, 0, 16, 0, x, 0, 16, 0, &zero, x, 0, 16,
                                                     0, 1, 68, 0));
}
std::string empty_capture() {
  void *stream = capturing(), *graph, *executable;
  ok(cuStreamEndCapture(stream, &graph));
  const int made = cuGraphInstantiateWithFlags(&executable, graph, 0);
  return error_name(made) + ", then " + error_name(made ? made : cuGraphLaunch(executable, stream));
}
std::string second_capture_of_a_stream() {
  void* stream = capturing();
  return then_end(stream, cuStreamBeginCapture_v2(stream, RELAXED));
}

std::string launch_of(Shape shape) {
  void* stream = new_stream();
  uintptr_t x = allocate<float>(32, stream);
  int first = 0, n = 0;
  void* addresses[] = {&x, &first, &n};
  return error_name(cuLaunchKernel(reduction("test_write"), shape.blocks, shape.blocks_y, 1, shape.threads, 1, 1,
                                   shape.shared_bytes, stream, addresses, nullptr));
}
std::string empty_grid() { return launch_of({0, 32}); }
std::string empty_block() { return launch_of({1, 0}); }
std::string block_of_1025() { return launch_of({1, 1025}); }
std::string grid_of_65536_rows() { return launch_of({1, 32, 0, 65536}); }
std::string shared_memory_not_asked_for() { return launch_of({1, 32, 49 << 10}); }
std::string more_shared_memory_than_there_is() {
  return error_name(cuFuncSetAttribute(reduction("test_rotate"), MAX_DYNAMIC_SHARED_BYTES, 228 << 10));
}
std::string unknown_kernel() {
  void *module, *found;
  ok(load_module("test_reductions.cu", &module));
  return error_name(cuModuleGetFunction(&found, module, "test_sum_columns"));
}

std::string query_of_an_event_never_recorded() { return error_name(cuEventQuery(event(DISABLE_TIMING))); }
std::string wait_for_an_event_never_recorded() {
  return error_name(cuStreamWaitEvent(new_stream(), event(DISABLE_TIMING), 0));
}
std::string time_between_events_without_timing() {
  void *stream = new_stream(), *a = event(DISABLE_TIMING), *b = event(DISABLE_TIMING);
  ok(cuEventRecord(a, stream));
  ok(cuEventRecord(b, stream));
  ok(cuStreamSynchronize(stream));
  float milliseconds;
  return error_name(cuEventElapsedTime(&milliseconds, a, b));
}
std::string time_between_events_never_recorded() {
  float milliseconds;
  return error_name(cuEventElapsedTime(&milliseconds, event(0), event(0)));
}

std::string product_with(int n, int lda) {
  void *stream = new_stream(), *blas;
  ok(cublasCreate_v2(&blas));
  ok(cublasSetStream_v2(blas, stream));
  const auto x = reinterpret_cast<void*>(upload(std::vector<float>(256, 1.0f), stream));
  const float one = 1, zero = 0;
  const int status = cublasGemmStridedBatchedEx(blas, 0, 0, 16, n, 16, &one, x, 0, lda, 0, x, 0, 16, 0, &zero, x, 0, 16, 0,
                                                1, 68, 0);
  return "cuBLAS status " + std::to_string(status);
}
std::string matrix_product_without_columns() { return product_with(0, 16); }
std::string matrix_product_with_rows_too_short() { return product_with(16, 8); }

struct Question {
  const char* name;
  std::string (*ask)();
  const char* emulated;
};
constexpr Question QUESTIONS[] = {
    {"zero-size allocation", zero_size_allocation, "CUDA_SUCCESS"},
    {"address of a zero-size allocation", address_of_a_zero_size_allocation, "null"},
    {"zero-size blocking allocation", zero_size_blocking_allocation, "CUDA_ERROR_INVALID_VALUE"},
    {"zero-size upload", zero_size_upload, "CUDA_SUCCESS"},
    {"zero-size upload to null", zero_size_upload_to_null, "CUDA_SUCCESS"},
    {"zero-size fill", zero_size_fill, "CUDA_SUCCESS"},
    {"free of null", free_of_null, "CUDA_SUCCESS"},
    {"asynchronous free of null", asynchronous_free_of_null, "CUDA_SUCCESS"},
    {"allocation in a capture", allocation_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"allocation and free in a capture", allocation_and_free_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"zero-size allocation in a capture", zero_size_allocation_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"blocking allocation in a capture", blocking_allocation_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"pinned allocation in a capture", pinned_allocation_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"free in a capture of memory from outside", free_in_a_capture_of_memory_from_outside,
     "CUDA_ERROR_INVALID_VALUE, then CUDA_SUCCESS"},
    {"synchronisation in a capture", synchronisation_in_a_capture,
     "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, then CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {"query in a capture", query_in_a_capture,
     "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, then CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {"pageable upload in a capture", pageable_upload_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"pageable download in a capture", pageable_download_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"query of an event of a capture", query_of_an_event_of_a_capture,
     "CUDA_ERROR_CAPTURED_EVENT, then CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {"wait for an event of a capture", wait_for_an_event_of_a_capture,
     "CUDA_ERROR_CAPTURED_EVENT, then CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {"query of an event of an ended capture", query_of_an_event_of_an_ended_capture, "CUDA_ERROR_INVALID_VALUE"},
    {"wait for an event from outside a capture", wait_for_an_event_from_outside_a_capture,
     "CUDA_ERROR_STREAM_CAPTURE_ISOLATION, then CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {"matrix product in a capture", matrix_product_in_a_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"empty capture", empty_capture, "CUDA_SUCCESS, then CUDA_SUCCESS"},
    {"second capture of a stream", second_capture_of_a_stream, "CUDA_ERROR_ILLEGAL_STATE, then CUDA_SUCCESS"},
    {"empty grid", empty_grid, "CUDA_ERROR_INVALID_VALUE"},
    {"empty block", empty_block, "CUDA_ERROR_INVALID_VALUE"},
    {"block of 1025 threads", block_of_1025, "CUDA_ERROR_INVALID_VALUE"},
    {"grid of 65536 rows", grid_of_65536_rows, "CUDA_ERROR_INVALID_VALUE"},
    {"shared memory not asked for", shared_memory_not_asked_for, "CUDA_ERROR_INVALID_VALUE"},
    {"more shared memory than there is", more_shared_memory_than_there_is, "CUDA_ERROR_INVALID_VALUE"},
    {"unknown kernel", unknown_kernel, "CUDA_ERROR_NOT_FOUND"},
    {"query of an event never recorded", query_of_an_event_never_recorded, "CUDA_SUCCESS"},
    {"wait for an event never recorded", wait_for_an_event_never_recorded, "CUDA_SUCCESS"},
    {"time between events without timing", time_between_events_without_timing, "CUDA_ERROR_INVALID_HANDLE"},
    {"time between events never recorded", time_between_events_never_recorded, "CUDA_ERROR_INVALID_HANDLE"},
    {"matrix product without columns", matrix_product_without_columns, "cuBLAS status 0"},
    {"matrix product with rows too short", matrix_product_with_rows_too_short, "cuBLAS status 7"},
};

}  // namespace

int main() {
  start();
  bool differ = false;
  for (const Question& question : QUESTIONS) {
    const std::string answer = question.ask();
    differ |= answer != question.emulated;
    printf("%s\t%s\t%s\n", question.name, question.emulated, answer.c_str());
    fflush(stdout);
  }
  return differ;
}
