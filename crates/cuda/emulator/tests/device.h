// What the emulator's test programs use of the driver: its functions, declared as in its documentation, and memory, streams and
// launches in a few words. Linked with a real driver the same programs show where the emulated device is wrong; modules are
// then the files MODULE.fatbin in the folder TEST_MODULES. Not here: the cases (programs.cpp, answers.cpp, faults.cpp).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void**, int);
int cuCtxSetCurrent(void*);
int cuGetErrorName(int, const char**);
int cuStreamCreate(void**, unsigned);
int cuStreamSynchronize(void*);
int cuStreamWaitEvent(void*, void*, unsigned);
int cuStreamBeginCapture_v2(void*, int);
int cuStreamEndCapture(void*, void**);
int cuGraphInstantiateWithFlags(void**, void*, unsigned long long);
int cuGraphLaunch(void*, void*);
int cuEventCreate(void**, unsigned);
int cuEventRecord(void*, void*);
int cuEventQuery(void*);
int cuEventSynchronize(void*);
int cuMemAllocAsync(uintptr_t*, size_t, void*);
int cuMemFreeAsync(uintptr_t, void*);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemHostRegister_v2(void*, size_t, unsigned);
int cuMemHostUnregister(void*);
int cuMemHostGetDevicePointer_v2(uintptr_t*, void*, unsigned);
int cuMemcpyHtoDAsync_v2(uintptr_t, const void*, size_t, void*);
int cuMemcpyDtoHAsync_v2(void*, uintptr_t, size_t, void*);
int cuMemGetInfo_v2(size_t*, size_t*);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuFuncSetAttribute(void*, int, int);
int cuLaunchKernelEx(const void*, void*, void**, void**);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cublasCreate_v2(void**);
int cublasSetStream_v2(void*, void*);
int cublasGemmStridedBatchedEx(void*, int, int, int, int, int, const void*, const void*, int, int, long long, const void*, int,
                               int, long long, const void*, void*, int, int, long long, int, int, int);
double emulator_counter(const char*) __attribute__((weak));
void emulator_reset_peak() __attribute__((weak));
}

constexpr int MAX_DYNAMIC_SHARED_BYTES = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr unsigned NON_BLOCKING = 1;
constexpr int NOT_ON_A_REAL_DEVICE = 77;  // the code of a case that reads counters

inline bool is_emulated() { return emulator_counter != nullptr; }

inline std::string error_name(int result) {
  const char* name;
  cuGetErrorName(result, &name);
  return name;
}

// Ends the program where the driver returns an error: `error: NAME`.
inline void ok(int result) {
  if (result == 0) return;
  fprintf(stderr, "error: %s\n", error_name(result).c_str());
  exit(3);
}

inline void* new_stream() {
  void* stream;
  ok(cuStreamCreate(&stream, NON_BLOCKING));
  return stream;
}

// The device's context, current in this thread.
inline void start() {
  void* context;
  ok(cuInit(0));
  ok(cuDevicePrimaryCtxRetain(&context, 0));
  ok(cuCtxSetCurrent(context));
}

inline int load_module(const char* module, void** handle) {
  const char* folder = getenv("TEST_MODULES");
  if (!folder) return cuModuleLoadData(handle, ("// emulated module: " + std::string(module) + "\n").c_str());
  std::ifstream file(std::string(folder) + "/" + module + ".fatbin", std::ios::binary);
  return cuModuleLoadData(handle, std::string(std::istreambuf_iterator<char>(file), {}).c_str());
}

inline void* function(const char* module, const char* name) {
  void *handle, *found;
  ok(load_module(module, &handle));
  ok(cuModuleGetFunction(&found, handle, name));
  return found;
}
inline void* reduction(const char* name) { return function("test_reductions.cu", name); }
inline void* product(const char* name) { return function("test_products.cu", name); }

template <class T> uintptr_t allocate(size_t n, void* stream) {
  uintptr_t address;
  ok(cuMemAllocAsync(&address, n * sizeof(T), stream));
  return address;
}

template <class T> uintptr_t upload(const std::vector<T>& values, void* stream) {
  const uintptr_t address = allocate<T>(values.size(), stream);
  ok(cuMemcpyHtoDAsync_v2(address, values.data(), values.size() * sizeof(T), stream));
  return address;
}

template <class T> std::vector<T> download(uintptr_t address, size_t n, void* stream) {
  std::vector<T> values(n);
  ok(cuMemcpyDtoHAsync_v2(values.data(), address, n * sizeof(T), stream));
  return values;
}

template <class T> T* pinned(size_t n) {
  void* pointer;
  ok(cuMemHostAlloc(&pointer, n * sizeof(T), 0));
  return static_cast<T*>(pointer);
}

struct Shape {
  unsigned blocks, threads, shared_bytes = 0, blocks_y = 1;
};
template <class... A> void launch(void* function, Shape shape, void* stream, A... arguments) {
  void* addresses[] = {&arguments...};
  ok(cuLaunchKernel(function, shape.blocks, shape.blocks_y, 1, shape.threads, 1, 1, shape.shared_bytes, stream, addresses,
                    nullptr));
}

// Programmatic dependent launch.
template <class... A> void launch_early(void* function, Shape shape, void* stream, A... arguments) {
  void* addresses[] = {&arguments...};
  struct {
    int id = 6, padding = 0;
    int value[16] = {1};
  } attribute;
  struct {
    unsigned grid[3], block[3], shared_bytes;
    void* stream;
    void* attributes;
    unsigned n_attributes;
  } config{{shape.blocks, shape.blocks_y, 1}, {shape.threads, 1, 1}, shape.shared_bytes, stream, &attribute, 1};
  ok(cuLaunchKernelEx(&config, function, addresses, nullptr));
}

// Ends the program with `wrong result: WHAT` unless the two agree to the bit.
template <class T> void expect_equal(const std::vector<T>& got, const std::vector<T>& expected, const char* what) {
  for (size_t i = 0; i < expected.size(); ++i)
    if (got.size() != expected.size() || memcmp(&got[i], &expected[i], sizeof(T)) != 0) {
      fprintf(stderr, "wrong result: %s, element %zu\n", what, i);
      exit(2);
    }
}
inline void expect(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "wrong result: %s\n", what);
  exit(2);
}

// A case by its name.
struct Case {
  const char* name;
  void (*run)();
};
inline int run_case(const Case* cases, size_t n, const char* name) {
  start();
  for (size_t i = 0; i < n; ++i)
    if (strcmp(cases[i].name, name) == 0) {
      cases[i].run();
      return 0;
    }
  fprintf(stderr, "no case %s\n", name);
  return 64;
}
