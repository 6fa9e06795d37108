// Dynamic shared memory: as many bytes as the launch asked for, followed by a page that cannot be touched.
// Not here: `__shared__` variables of a fixed size (include/shared_memory.h); they are counted here alone.
#include "executor/block.h"
#include "executor/fault.h"

#include <cstring>
#include <sys/mman.h>

namespace simt {
namespace {

constexpr size_t PAGE = 4096;
constexpr size_t ALIGNMENT = 128;
constexpr size_t USUAL = 48 << 10;  // what is more must be asked for, as dynamic memory
constexpr size_t MOST_PER_BLOCK = 227 << 10;  // an H100's, static and dynamic together
constexpr size_t ARENA = (MOST_PER_BLOCK + PAGE - 1) / PAGE * PAGE;

size_t static_bytes;
unsigned char* dynamic_begin;

unsigned char* arena_end() {
  static unsigned char* const end = [] {
    void* memory = mmap(nullptr, ARENA + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fault("no memory", "no room for shared memory");
    auto* begin = static_cast<unsigned char*>(memory);
    mprotect(begin + ARENA, PAGE, PROT_NONE);
    return begin + ARENA;
  }();
  return end;
}

}  // namespace

void prepare_shared_memory() {
  static_bytes = 0;
  dynamic_begin = nullptr;
  if (!running->dynamic_shared_bytes) return;
  const size_t bytes = (running->dynamic_shared_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  dynamic_begin = arena_end() - bytes;
  memset(dynamic_begin, 0xff, bytes);
}

void free_shared_memory() { dynamic_begin = nullptr; }

unsigned char* dynamic_shared_memory() {
  if (!dynamic_begin) fault("no shared memory", "dynamic shared memory is used, but the launch asked for none,");
  return dynamic_begin;
}

void count_static_shared_memory(size_t bytes) {
  static_bytes += bytes;
  const size_t together = static_bytes + running->dynamic_shared_bytes;
  if (together > MOST_PER_BLOCK || static_bytes > USUAL || (together > USUAL && !running->may_exceed))
    fault("too much shared memory", "%zu bytes of variables and %u of dynamic memory,", static_bytes,
          running->dynamic_shared_bytes);
}

}  // namespace simt
