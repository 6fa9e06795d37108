// The driver's one lock: its functions may be called from any thread, and each runs as a whole.
#pragma once
#include <mutex>

namespace driver {

// Not inline: each of the libraries would have a mutex of its own.
std::recursive_mutex& driver_mutex();

class Locked {
  std::lock_guard<std::recursive_mutex> guard{driver_mutex()};
};

}  // namespace driver
