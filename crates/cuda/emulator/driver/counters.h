// What a program asked of the device, counted. Tests in the same process read the counters through `emulator_counter`, others
// from the JSON file of EMU_COUNTERS.
#pragma once
#include <cstdint>
#include <string>

namespace driver {

struct Counters {
  uint64_t launches;           // kernels, one by one, those in graphs included
  uint64_t early_launches;     // of these, those that may begin before the kernels ahead have ended
  uint64_t products;           // matrix products of cuBLAS, likewise
  uint64_t graph_launches;
  uint64_t uploads, upload_bytes;
  uint64_t downloads, download_bytes;
  uint64_t blocking_downloads;  // to memory that is not pinned: the call waits for the stream
  uint64_t device_copies, memsets;
  uint64_t synchronizations;   // calls that wait for a stream, an event or the device; blocking downloads not counted
  uint64_t allocations, frees;
  uint64_t live_allocations, live_bytes, peak_bytes;
  uint64_t pinned_allocations, pinned_bytes;
  uint64_t streams_created, events_created, event_records, event_waits;
  uint64_t modules_loaded, function_lookups;
};

extern Counters counters;

// Adds to what is told of a kernel or a matrix product by its name.
void count_execution(const std::string& name, uint64_t threads, double seconds);

}  // namespace driver
