// The mutex behind lock.h. Made on first use: constructors of other libraries may come before this one's.
#include "driver/lock.h"

namespace driver {

std::recursive_mutex& driver_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

}  // namespace driver
