// The one device there is, contexts, and the names of errors.
#include "driver/memory.h"
#include "driver/module.h"
#include "driver/result.h"
#include "driver/settings.h"

#include <cstdio>
#include <cstring>
#include <map>

namespace driver {
namespace {

struct Context {
} primary_context;
thread_local void* current_context;

struct ErrorText {
  int number;
  const char *name, *text;
};
constexpr ErrorText ERRORS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {HOST_MEMORY_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "host memory is registered already"},
    {HOST_MEMORY_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "host memory is not registered"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
};

const ErrorText* find_error(int number) {
  for (const ErrorText& error : ERRORS)
    if (error.number == number) return &error;
  return nullptr;
}

// CUdevice_attribute, by number: an H100's answers. Everything else is 0.
const std::map<int, int> ATTRIBUTES = {
    {1, MOST_THREADS},           // threads per block
    {2, 1024}, {3, 1024}, {4, 64},  // block x, y, z
    {5, 2147483647}, {6, 65535}, {7, 65535},  // grid x, y, z
    {8, SHARED_BYTES_AT_FIRST},  // shared memory per block
    {10, 32},                    // warp size
    {12, 65536},                 // registers per block
    {16, 132},                   // multiprocessors
    {38, 50 << 20},              // L2 cache
    {39, 2048},                  // threads per multiprocessor
    {41, 1},                     // unified addressing
    {75, 9}, {76, 0},            // compute capability
    {81, 228 << 10},             // shared memory per multiprocessor
    {82, 65536},                 // registers per multiprocessor
    {97, MOST_SHARED_BYTES},     // shared memory per block, when asked for
    {106, 32},                   // blocks per multiprocessor
    {115, 1},                    // memory pools
};

}  // namespace

CUDA_API int cuInit(unsigned) {
  static const bool is_watching = settings().guard && (watch_for_bad_accesses(), true);
  (void)is_watching;
  return SUCCESS;
}

CUDA_API int cuDriverGetVersion(int* version) {
  *version = 13000;
  return SUCCESS;
}

CUDA_API int cuGetErrorName(int number, const char** name) {
  const ErrorText* error = find_error(number);
  *name = error ? error->name : "CUDA_ERROR_UNKNOWN";
  return error ? SUCCESS : INVALID_VALUE;
}

CUDA_API int cuGetErrorString(int number, const char** text) {
  const ErrorText* error = find_error(number);
  *text = error ? error->text : "unknown error";
  return error ? SUCCESS : INVALID_VALUE;
}

CUDA_API int cuDeviceGetCount(int* n) {
  *n = 1;
  return SUCCESS;
}

CUDA_API int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}

CUDA_API int cuDeviceGetName(char* name, int bytes, int) {
  snprintf(name, bytes, "emulated device");
  return SUCCESS;
}

CUDA_API int cuDeviceGetUuid_v2(unsigned char* uuid, int) {
  memset(uuid, 0, 16);
  return SUCCESS;
}

CUDA_API int cuDeviceGetUuid(unsigned char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }

CUDA_API int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = settings().memory_bytes;
  return SUCCESS;
}

CUDA_API int cuDeviceGetAttribute(int* value, int attribute, int) {
  const auto found = ATTRIBUTES.find(attribute);
  *value = found == ATTRIBUTES.end() ? 0 : found->second;
  return SUCCESS;
}

CUDA_API int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &primary_context;
  return SUCCESS;
}

CUDA_API int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }

CUDA_API int cuCtxDestroy_v2(void*) { return SUCCESS; }

CUDA_API int cuCtxGetCurrent(void** context) {
  *context = current_context;
  return SUCCESS;
}

CUDA_API int cuCtxSetCurrent(void* context) {
  current_context = context;
  return SUCCESS;
}

CUDA_API int cuCtxGetDevice(int* device) {
  *device = 0;
  return SUCCESS;
}

CUDA_API int cuCtxSetFlags(unsigned) { return SUCCESS; }
CUDA_API int cuCtxSetLimit(int, size_t) { return SUCCESS; }
CUDA_API int cuCtxSetCacheConfig(int) { return SUCCESS; }

CUDA_API int cuCtxGetLimit(size_t* value, int) {
  *value = 0;
  return SUCCESS;
}

CUDA_API int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return SUCCESS;
}

}  // namespace driver
