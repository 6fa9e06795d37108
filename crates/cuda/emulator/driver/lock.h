// The driver's one lock: its functions may be called from any thread, and each runs as a whole.
#pragma once
#include <mutex>

namespace driver {

inline std::recursive_mutex& driver_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

class Locked {
  std::lock_guard<std::recursive_mutex> guard{driver_mutex()};
};

}  // namespace driver
