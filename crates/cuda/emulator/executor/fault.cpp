// Reporting faults. See fault.h.
#include "executor/fault.h"

#include "executor/executor.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace simt {

void describe_running_thread(char* text, size_t bytes) {
  text[0] = '\0';
  if (!running_kernel()) return;
  snprintf(text, bytes, " in kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", running_kernel(), block_index.x, block_index.y,
           block_index.z, thread_index.x, thread_index.y, thread_index.z);
}

void fault(const char* name, const char* format, ...) {
  char where[256];
  describe_running_thread(where, sizeof where);
  fprintf(stderr, "emulated device: %s: ", name);
  va_list values;
  va_start(values, format);
  vfprintf(stderr, format, values);
  va_end(values);
  fprintf(stderr, "%s\n", where);
  abort();
}

}  // namespace simt
