// CUDA's execution model on one CPU thread: what the headers for kernels (include/) and the driver (driver/) use of it.
//
// A launch runs block after block. The threads of a block are fibers, which give way only where they wait: at a barrier
// or at a meeting of their warp. Everything between two waits is done in one go, so a kernel without waits is a plain
// loop, and which interleavings happen is a choice of ours (`scheduler.cpp`), the same in every run.
// Not here: device memory, streams, the driver's functions (driver/).
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace simt {

// ---- Launches

extern uint3 thread_index, block_index;
extern dim3 block_size, grid_size;

struct Parameter {
  unsigned bytes;
  bool is_pointer;
  bool is_written;  // a pointer to what is not const
};

struct Kernel {
  const char* module;          // the file name of its source
  const char* name;
  void (*run)(void** values);  // calls it for the current thread
  std::vector<Parameter> parameters;
};

// Makes a kernel known to the driver. Called while a library with kernels is loaded.
void add_kernel(Kernel kernel);
// The kernel of that module, or of any module if `module` is empty; null if there is none.
const Kernel* find_kernel(const char* module, const char* name);
bool has_module(const char* module);

struct Launch {
  const Kernel* kernel;
  void** values;  // the addresses of its arguments
  dim3 grid, block;
  unsigned dynamic_shared_bytes;
  bool may_exceed = true;     // 48 KB of shared memory, variables and dynamic memory together: what is more was asked for
  bool begins_early = false;  // programmatic dependent launch
};
void launch(const Launch& launch);

// What a block that begins early may not touch before it has waited, for the driver to forbid and to allow.
struct Precaution {
  void (*forbid)();
  void (*allow)();
};
extern Precaution precaution;

// The name of the kernel that runs now, or null.
const char* running_kernel();

// ---- Within a kernel

// Where in a kernel's source something was called.
struct Place {
  const char* file;
  int line;
};

void wait_for_block(Place place);  // __syncthreads
// griddepcontrol.wait. All threads of a block that begins early do without the results of kernels ahead until all have come here.
void wait_for_previous(Place place);
unsigned current_lane();
unsigned lanes_alive();  // of the current thread's warp, as a mask

// The lanes of `mask` meet: each waits until all of them that have not ended are there. The one that comes last does
// the work of all: `work(operands)`, where `operands[lane]` is what that lane brought, null for one that did not.
using Work = void (*)(void* (&operands)[32]);
void meet(unsigned mask, const char* operation, Place place, Work work, void* operand);

// Shared memory holds 0xff, a NaN in every float format, when a block begins.
unsigned char* dynamic_shared_memory();
extern uint64_t block_serial;  // another one for every block of every launch
void count_static_shared_memory(size_t bytes);

// cp.async: copies are done at the earliest or at the latest moment the rules allow, depending on the order of threads.
void copy_async(void* to, const void* from, unsigned bytes, unsigned bytes_read, Place place);
void commit_async_copies();
void wait_for_async_copies(size_t groups_that_may_remain);

// ---- Calling a kernel with arguments given by their addresses

template <auto Function> struct Caller;
template <class... A, void (*Function)(A...)> struct Caller<Function> {
  template <size_t... I> static void call(void** values, std::index_sequence<I...>) {
    Function(*static_cast<std::remove_const_t<A>*>(values[I])...);
  }
  static void run(void** values) { call(values, std::index_sequence_for<A...>{}); }
  static std::vector<Parameter> parameters() { return {parameter<A>()...}; }
  template <class One> static Parameter parameter() {
    return {sizeof(One), std::is_pointer_v<One>, std::is_pointer_v<One> && !std::is_const_v<std::remove_pointer_t<One>>};
  }
};

}  // namespace simt

// Makes `extern "C" __global__ void NAME(...)` of the current source launchable. build.sh writes these lines.
#define EMULATED_KERNEL(module, name)   \
  static const bool emulated_##name = ( \
      simt::add_kernel({module, #name, &simt::Caller<&name>::run, simt::Caller<&name>::parameters()}), true);
