// Allocating and freeing, on the device and pinned on the host. See memory.h.
#include "driver/memory.h"

#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/settings.h"
#include "driver/stream.h"
#include "executor/fault.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <sys/mman.h>

namespace driver {

std::map<uintptr_t, AllocationHandle> live_allocations, present_allocations;

namespace {

constexpr size_t PAGE = 4096;
constexpr size_t ALIGNMENT = 256;        // the real driver's; with guards 16, so that an allocation ends at its page's end
constexpr size_t GUARDED_ALIGNMENT = 16;
constexpr size_t TAIL = 256;             // bytes behind an allocation that are checked when it is freed
constexpr unsigned char TAIL_BYTE = 0xa5;
constexpr unsigned char POISON = 0xff;

std::map<uintptr_t, size_t> freed;  // where allocations once were, to name a use after free
std::map<uintptr_t, size_t> pinned;
std::map<uintptr_t, size_t> registered;  // the program's own memory that is pinned

// Of allocations that were freed and that EMU_LAZY keeps until the work before that is done.
size_t waiting_bytes;
// The machine's own memory has an end: beyond this the work is done at once.
constexpr size_t MOST_WAITING_BYTES = size_t(1) << 30;

// Guarded pages that were given back, by their number of bytes: nobody may touch them until they are an allocation again. New
// pages would cost a fault each.
std::map<size_t, std::deque<char*>> idle_mappings;
size_t idle_bytes;
constexpr size_t MOST_IDLE_BYTES = MOST_WAITING_BYTES;

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

unsigned char* begin_of(const Allocation& allocation) { return reinterpret_cast<unsigned char*>(allocation.address); }

// The bytes behind an allocation that hold TAIL_BYTE.
size_t tail_bytes(const Allocation& allocation) {
  if (allocation.mapping) return round_up(allocation.bytes, GUARDED_ALIGNMENT) - allocation.bytes;
  return round_up(allocation.bytes, ALIGNMENT) + TAIL - allocation.bytes;
}

// Room for so many bytes and the pages around them. Few different sizes, so that they serve others again: an eighth more at most.
size_t mapping_bytes_for(size_t body) {
  const size_t step = std::max(PAGE, std::bit_ceil(body + 1) / 16);
  return round_up(body, step) + 2 * PAGE;
}

// Pages that cannot be touched; null if there is no room for them.
char* take_mapping(size_t bytes) {
  std::deque<char*>& idle = idle_mappings[bytes];
  if (idle.empty()) {
    void* mapping = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return mapping == MAP_FAILED ? nullptr : static_cast<char*>(mapping);
  }
  char* mapping = idle.front();  // the one that was given back first: what still uses it is found for longest
  idle.pop_front();
  idle_bytes -= bytes;
  return mapping;
}

void give_back_mapping(const Allocation& allocation) {
  if (idle_bytes + allocation.mapping_bytes > MOST_IDLE_BYTES) {
    munmap(allocation.mapping, allocation.mapping_bytes);
    return;
  }
  protect(allocation, PROT_NONE);
  idle_mappings[allocation.mapping_bytes].push_back(allocation.mapping);
  idle_bytes += allocation.mapping_bytes;
}

bool take_memory(Allocation& allocation) {
  if (settings().guard) {
    const size_t body = round_up(allocation.bytes, PAGE);
    allocation.mapping_bytes = mapping_bytes_for(body);
    allocation.mapping = take_mapping(allocation.mapping_bytes);
    if (!allocation.mapping) return false;
    // The last pages but one: a guard is behind them, and whatever else there is in front.
    char* end = allocation.mapping + allocation.mapping_bytes - PAGE;
    if (mprotect(end - body, body, PROT_READ | PROT_WRITE) != 0)
      simt::fault("no memory", "too many guarded allocations: raise vm.max_map_count or run without EMU_GUARD");
    allocation.address = reinterpret_cast<uintptr_t>(end) - round_up(allocation.bytes, GUARDED_ALIGNMENT);
  } else {
    void* memory = aligned_alloc(ALIGNMENT, round_up(allocation.bytes, ALIGNMENT) + TAIL);
    if (!memory) return false;
    allocation.address = reinterpret_cast<uintptr_t>(memory);
  }
  memset(begin_of(allocation) + allocation.bytes, TAIL_BYTE, tail_bytes(allocation));
  if (settings().poison) memset(begin_of(allocation), POISON, allocation.bytes);
  return true;
}

}  // namespace

void protect(const Allocation& allocation, int protection) {
  const size_t body = round_up(allocation.bytes, PAGE);
  mprotect(allocation.mapping + allocation.mapping_bytes - PAGE - body, body, protection);
}

namespace {

void give_back_memory(Allocation& allocation) {
  const unsigned char* tail = begin_of(allocation) + allocation.bytes;
  for (size_t i = 0; i < tail_bytes(allocation); ++i)
    if (tail[i] != TAIL_BYTE)
      simt::fault("write past the end", "byte %zu behind an allocation of %zu bytes was changed before it was freed", i,
                  allocation.bytes);
  allocation.is_gone = true;
  present_allocations.erase(allocation.address);
  if (allocation.mapping) {
    give_back_mapping(allocation);
  } else {
    if (settings().poison) memset(begin_of(allocation), POISON, allocation.bytes);
    free(begin_of(allocation));
  }
}

Result allocate(uintptr_t* address, size_t bytes, bool of_stream) {
  Locked locked;
  if (counters.live_bytes + bytes > settings().memory_bytes) return OUT_OF_MEMORY;
  auto allocation = std::make_shared<Allocation>(Allocation{0, bytes, of_stream, false, nullptr, 0});
  if (!take_memory(*allocation)) return OUT_OF_MEMORY;
  *address = allocation->address;
  live_allocations[*address] = present_allocations[*address] = allocation;
  freed.erase(freed.lower_bound(*address), freed.lower_bound(*address + bytes));
  ++counters.allocations;
  ++counters.live_allocations;
  counters.live_bytes += bytes;
  counters.peak_bytes = std::max(counters.peak_bytes, counters.live_bytes);
  return SUCCESS;
}

// In a capture. The memory is there from the start, and the graph cannot be run.
Result allocate_in(Capture& capture, uintptr_t* address, size_t bytes) {
  const Result result = allocate(address, bytes, true);
  if (result != SUCCESS) return result;
  capture.allocations.push_back(*address);
  put_obstacle(capture, "a graph that allocates memory");
  return SUCCESS;
}

// `stream` is null for cuMemFree.
Result release(uintptr_t address, Stream* stream) {
  Locked locked;
  if (!address) return SUCCESS;
  const auto found = live_allocations.find(address);
  if (found == live_allocations.end()) {
    if (freed.count(address)) simt::fault("double free", "%#zx was freed before", size_t(address));
    simt::fault("bad free", "%#zx is not where an allocation begins", size_t(address));
  }
  AllocationHandle allocation = found->second;
  live_allocations.erase(found);
  freed[address] = allocation->bytes;
  ++counters.frees;
  --counters.live_allocations;
  counters.live_bytes -= allocation->bytes;
  if (stream) {
    waiting_bytes += allocation->bytes;
    enqueue(*stream, {"", 0, [allocation] {
                        waiting_bytes -= allocation->bytes;
                        give_back_memory(*allocation);
                      }});
    if (waiting_bytes > MOST_WAITING_BYTES) finish_all();
    return SUCCESS;
  }
  // cuMemFree waits for the device, but not for memory that belongs to a stream.
  if (!allocation->of_stream) finish_all();
  give_back_memory(*allocation);
  return SUCCESS;
}

// In a capture. What it did not allocate it cannot free.
Result release_in(Capture& capture, uintptr_t address) {
  const auto found = std::find(capture.allocations.begin(), capture.allocations.end(), address);
  if (found == capture.allocations.end()) return INVALID_VALUE;
  capture.allocations.erase(found);
  return release(address, nullptr);
}

}  // namespace

AllocationHandle find_allocation(uintptr_t address) {
  auto next = live_allocations.upper_bound(address);
  if (next == live_allocations.begin()) return nullptr;
  const AllocationHandle& before = std::prev(next)->second;
  return address <= before->address + before->bytes ? before : nullptr;
}

void report_wild_pointer(const char* who, uintptr_t address) {
  auto next = freed.upper_bound(address);
  if (next != freed.begin()) {
    const auto& [begin, bytes] = *std::prev(next);
    if (address < begin + bytes) simt::fault("use after free", "%s uses %#zx, which was freed", who, size_t(address));
  }
  simt::fault("wild pointer", "%s uses %#zx, which is in no allocation", who, size_t(address));
}

AllocationHandle check_range(const char* who, const void* pointer, size_t bytes) {
  Locked locked;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  AllocationHandle allocation = find_allocation(address);
  if (!allocation) report_wild_pointer(who, address);
  const size_t there = allocation->address + allocation->bytes - address;
  if (bytes > there)
    simt::fault("past the end", "%s needs %zu bytes from %#zx on, where an allocation of %zu has %zu left", who, bytes,
                size_t(address), allocation->bytes, there);
  return allocation;
}

void check_still_there(const std::string& who, const Allocation& allocation) {
  if (allocation.is_gone)
    simt::fault("use after free", "%s runs after an allocation of %zu bytes that it uses was freed", who.c_str(),
                allocation.bytes);
}

static bool is_within(const std::map<uintptr_t, size_t>& ranges, const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  auto next = ranges.upper_bound(address);
  if (next == ranges.begin()) return false;
  const auto& [begin, bytes] = *std::prev(next);
  return address < begin + bytes;
}

bool is_pinned(const void* pointer) { return is_within(pinned, pointer) || is_within(registered, pointer); }

// ---- The driver's interface

CUDA_API int cuMemAlloc_v2(uintptr_t* address, size_t bytes) {
  return bytes == 0 ? INVALID_VALUE : allocate(address, bytes, false);
}

CUDA_API int cuMemAllocAsync(uintptr_t* address, size_t bytes, void* stream) {
  Locked locked;
  *address = 0;
  if (bytes == 0) return SUCCESS;
  if (Capture* capture = stream_of(stream).capture.get()) return allocate_in(*capture, address, bytes);
  return allocate(address, bytes, true);
}

CUDA_API int cuMemAllocFromPoolAsync(uintptr_t* address, size_t bytes, void*, void* stream) {
  return cuMemAllocAsync(address, bytes, stream);
}

CUDA_API int cuMemAllocManaged(uintptr_t*, size_t, unsigned) { return NOT_SUPPORTED; }

CUDA_API int cuMemFree_v2(uintptr_t address) { return release(address, nullptr); }

CUDA_API int cuMemFreeAsync(uintptr_t address, void* stream) {
  Locked locked;
  if (Capture* capture = stream_of(stream).capture.get()) return release_in(*capture, address);
  return release(address, &stream_of(stream));
}

CUDA_API int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  Locked locked;
  if (bytes == 0) return INVALID_VALUE;
  *pointer = aligned_alloc(PAGE, round_up(bytes, PAGE));
  if (!*pointer) return OUT_OF_MEMORY;
  if (settings().poison) memset(*pointer, POISON, bytes);
  pinned[reinterpret_cast<uintptr_t>(*pointer)] = bytes;
  ++counters.pinned_allocations;
  counters.pinned_bytes += bytes;
  return SUCCESS;
}

CUDA_API int cuMemFreeHost(void* pointer) {
  Locked locked;
  if (!pinned.erase(reinterpret_cast<uintptr_t>(pointer))) return INVALID_VALUE;
  finish_all();
  free(pointer);
  return SUCCESS;
}

CUDA_API int cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned) {
  Locked locked;
  if (!pointer || bytes == 0) return INVALID_VALUE;
  const auto begin = reinterpret_cast<uintptr_t>(pointer);
  const auto next = registered.lower_bound(begin);
  if (is_within(registered, pointer) || (next != registered.end() && next->first < begin + bytes))
    return HOST_MEMORY_ALREADY_REGISTERED;
  registered[begin] = bytes;
  return SUCCESS;
}

CUDA_API int cuMemHostUnregister(void* pointer) {
  Locked locked;
  if (!registered.erase(reinterpret_cast<uintptr_t>(pointer))) return HOST_MEMORY_NOT_REGISTERED;
  finish_all();
  return SUCCESS;
}

// Kernels run on the host's processor, which has one address for everything.
CUDA_API int cuMemHostGetDevicePointer_v2(uintptr_t* address, void* pointer, unsigned) {
  Locked locked;
  if (!is_pinned(pointer)) return INVALID_VALUE;
  *address = reinterpret_cast<uintptr_t>(pointer);
  return SUCCESS;
}

CUDA_API int cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
  Locked locked;
  *total_bytes = settings().memory_bytes;
  *free_bytes = *total_bytes - counters.live_bytes;
  return SUCCESS;
}

}  // namespace driver
