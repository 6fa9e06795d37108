// The device's memory: which bytes are allocated.
// Not here: copies (copy.cpp), what happens on a touch of anything else (guard.cpp).
#pragma once
#include "driver/result.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace driver {

struct Stream;

struct Allocation {
  uintptr_t address;
  size_t bytes;
  bool of_stream;         // made by cuMemAllocAsync
  bool is_gone = false;   // its memory was given back: the free has happened in its stream
  char* mapping;          // with EMU_GUARD: the mapped pages, guards included
  size_t mapping_bytes;
};
using AllocationHandle = std::shared_ptr<Allocation>;

// Those whose free was not called yet, by address.
extern std::map<uintptr_t, AllocationHandle> live_allocations;
// Those whose memory is still there: the live ones, and those whose free is still in a stream's queue.
extern std::map<uintptr_t, AllocationHandle> present_allocations;

// The allocation that holds the address, or ends there; null if there is none.
AllocationHandle find_allocation(uintptr_t address);

// Stops the program unless [address, address + bytes) lies in one live allocation. `who` names the user in the message.
AllocationHandle check_range(const char* who, const void* address, size_t bytes);
// Stops the program if the allocation was given back before work that uses it ran.
void check_still_there(const std::string& who, const Allocation& allocation);
// Stops the program because the address is in no live allocation.
[[noreturn]] void report_wild_pointer(const char* who, uintptr_t address);

bool is_pinned(const void* address);

// Of a guarded allocation's own pages, as mprotect takes it.
void protect(const Allocation& allocation, int protection);
// Whether kernels ahead of the one that runs may still write there, for which it has not waited (launch.cpp).
bool is_in_flight(uintptr_t address);

// Installs the handler that names the kernel which touched memory it may not (guard.cpp).
void watch_for_bad_accesses();

}  // namespace driver
