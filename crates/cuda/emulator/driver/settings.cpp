// Reading the environment, once. See settings.h.
#include "driver/settings.h"

#include "executor/fault.h"

#include <cstdlib>
#include <cstring>

namespace driver {
namespace {

bool is_on(const char* name) {
  const char* text = getenv(name);
  return text && *text && strcmp(text, "0") != 0;
}

size_t read_bytes(const char* name, size_t otherwise) {
  const char* text = getenv(name);
  if (!text || !*text) return otherwise;
  char* end;
  const size_t number = strtoull(text, &end, 10);
  switch (*end) {
    case '\0': return number;
    case 'K': return number << 10;
    case 'M': return number << 20;
    case 'G': return number << 30;
  }
  simt::fault("bad setting", "%s is `%s`, expected a number of bytes such as 400M", name, text);
}

}  // namespace

const Settings& settings() {
  static const Settings read = [] {
    const char* path = getenv("EMU_COUNTERS");
    return Settings{is_on("EMU_LAZY"), is_on("EMU_POISON"), is_on("EMU_GUARD"), read_bytes("EMU_MEMORY", size_t(80) << 30),
                    path ? path : ""};
  }();
  return read;
}

}  // namespace driver
