// The device's memory pool. Allocations come straight from the host, so a pool has settings and sizes only.
#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/result.h"

namespace driver {
namespace {

struct Pool {
  uint64_t release_threshold = 0;
} pool;

// CUmemPool_attribute
enum Attribute { RELEASE_THRESHOLD = 4, RESERVED_NOW = 5, RESERVED_PEAK = 6, USED_NOW = 7, USED_PEAK = 8 };

}  // namespace

CUDA_API int cuDeviceGetDefaultMemPool(void** handle, int) {
  *handle = &pool;
  return SUCCESS;
}

CUDA_API int cuDeviceGetMemPool(void** handle, int device) { return cuDeviceGetDefaultMemPool(handle, device); }

CUDA_API int cuDeviceSetMemPool(int, void* handle) { return handle == &pool ? SUCCESS : INVALID_VALUE; }

CUDA_API int cuMemPoolTrimTo(void*, size_t) { return SUCCESS; }

CUDA_API int cuMemPoolSetAttribute(void*, int attribute, void* value) {
  Locked locked;
  if (attribute == RELEASE_THRESHOLD) pool.release_threshold = *static_cast<uint64_t*>(value);
  if (attribute == RESERVED_PEAK || attribute == USED_PEAK) counters.peak_bytes = counters.live_bytes;
  return SUCCESS;
}

CUDA_API int cuMemPoolGetAttribute(void*, int attribute, void* value) {
  Locked locked;
  auto& result = *static_cast<uint64_t*>(value);
  switch (attribute) {
    case RELEASE_THRESHOLD: result = pool.release_threshold; break;
    case RESERVED_NOW:
    case USED_NOW: result = counters.live_bytes; break;
    case RESERVED_PEAK:
    case USED_PEAK: result = counters.peak_bytes; break;
    default: return NOT_SUPPORTED;
  }
  return SUCCESS;
}

}  // namespace driver
