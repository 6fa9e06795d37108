// What the environment asks of the emulated device. Not here: EMU_ORDER, which the executor reads (executor/scheduler.cpp).
#pragma once
#include <cstddef>
#include <string>

namespace driver {

struct Settings {
  bool lazy;                  // EMU_LAZY: work waits until somebody waits for it
  bool poison;                // EMU_POISON: fresh and freed memory holds 0xff
  bool guard;                 // EMU_GUARD: a page that cannot be touched before and behind every allocation
  size_t memory_bytes;        // EMU_MEMORY: bytes, or with a suffix K, M or G; 80 G if unset
  std::string counters_path;  // EMU_COUNTERS: where to write the counters at exit; nowhere if empty
};

const Settings& settings();

}  // namespace driver
