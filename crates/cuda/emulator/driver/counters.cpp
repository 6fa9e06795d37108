// Writing and reading the counters. Not here: counting, which every function does itself.
#include "driver/counters.h"

#include "driver/lock.h"
#include "driver/result.h"
#include "driver/settings.h"

#include <cstdio>
#include <cstring>
#include <map>

namespace driver {

Counters counters;

namespace {

struct Execution {
  uint64_t calls, threads;
  double seconds;
};
std::map<std::string, Execution> executions;

struct Name {
  const char* name;
  uint64_t Counters::*value;
};
constexpr Name NAMES[] = {
    {"launches", &Counters::launches},
    {"early_launches", &Counters::early_launches},
    {"products", &Counters::products},
    {"graph_launches", &Counters::graph_launches},
    {"uploads", &Counters::uploads},
    {"upload_bytes", &Counters::upload_bytes},
    {"downloads", &Counters::downloads},
    {"download_bytes", &Counters::download_bytes},
    {"blocking_downloads", &Counters::blocking_downloads},
    {"device_copies", &Counters::device_copies},
    {"memsets", &Counters::memsets},
    {"synchronizations", &Counters::synchronizations},
    {"allocations", &Counters::allocations},
    {"frees", &Counters::frees},
    {"live_allocations", &Counters::live_allocations},
    {"live_bytes", &Counters::live_bytes},
    {"peak_bytes", &Counters::peak_bytes},
    {"pinned_allocations", &Counters::pinned_allocations},
    {"pinned_bytes", &Counters::pinned_bytes},
    {"streams_created", &Counters::streams_created},
    {"events_created", &Counters::events_created},
    {"event_records", &Counters::event_records},
    {"event_waits", &Counters::event_waits},
    {"modules_loaded", &Counters::modules_loaded},
    {"function_lookups", &Counters::function_lookups},
};

bool write(const char* path) {
  FILE* file = fopen(path, "w");
  if (!file) return false;
  fprintf(file, "{\n");
  for (const Name& name : NAMES) fprintf(file, "  \"%s\": %llu,\n", name.name, (unsigned long long)(counters.*name.value));
  fprintf(file, "  \"executions\": {");
  const char* separator = "\n";
  for (const auto& [name, execution] : executions) {
    fprintf(file, "%s    \"%s\": {\"calls\": %llu, \"threads\": %llu, \"seconds\": %.6f}", separator, name.c_str(),
            (unsigned long long)execution.calls, (unsigned long long)execution.threads, execution.seconds);
    separator = ",\n";
  }
  fprintf(file, "\n  }\n}\n");
  return fclose(file) == 0;
}

struct WriteAtExit {
  WriteAtExit() { settings(); }  // made before this object, so still there when it goes
  ~WriteAtExit() {
    const std::string& path = settings().counters_path;
    if (!path.empty() && !write(path.c_str())) fprintf(stderr, "emulated device: cannot write %s\n", path.c_str());
  }
} write_at_exit;

}  // namespace

void count_execution(const std::string& name, uint64_t threads, double seconds) {
  Execution& execution = executions[name];
  ++execution.calls;
  execution.threads += threads;
  execution.seconds += seconds;
}

// ---- For tests, which find these by dlsym

// The counter of that name, or how often the kernel of that name has run; 0 if there is neither.
CUDA_API double emulator_counter(const char* name) {
  Locked locked;
  for (const Name& known : NAMES)
    if (strcmp(known.name, name) == 0) return double(counters.*known.value);
  const auto execution = executions.find(name);
  return execution == executions.end() ? 0 : double(execution->second.calls);
}

// The peak of bytes is measured anew from here.
CUDA_API void emulator_reset_peak() {
  Locked locked;
  counters.peak_bytes = counters.live_bytes;
}

// Writes all counters as JSON. 0 if the file cannot be written.
CUDA_API int emulator_write_counters(const char* path) {
  Locked locked;
  return write(path);
}

}  // namespace driver
