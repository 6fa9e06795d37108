// Copies and fills of device memory. Pageable host memory is read before the call returns and written before it returns;
// pinned memory is read and written when the stream gets there, which is what a forgotten wait trips over. In a capture the
// real driver takes the address of pageable memory, too, and reads or writes at every replay whatever is there by then.
#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/memory.h"
#include "driver/stream.h"

#include <algorithm>
#include <cstring>

namespace driver {
namespace {

// Whether a copy from or to pageable memory belongs to a capture, whose graph cannot be run then.
bool takes_address(Stream& stream) {
  if (!stream.capture) return false;
  put_obstacle(*stream.capture, "a graph that copies from or to pageable memory");
  return true;
}

Result upload(uintptr_t to, const void* from, size_t bytes, void* handle) {
  Locked locked;
  if (!bytes) return SUCCESS;
  auto* device = reinterpret_cast<void*>(to);
  const AllocationHandle allocation = check_range("a copy to the device", device, bytes);
  if (is_pinned(from)) {
    submit(stream_of(handle), {"upload", bytes, [=] {
                                 check_still_there("a copy to the device", *allocation);
                                 memcpy(device, from, bytes);
                               }, Work::UPLOAD});
    return SUCCESS;
  }
  if (takes_address(stream_of(handle))) return SUCCESS;
  const auto* begin = static_cast<const char*>(from);
  const auto staged = std::make_shared<std::vector<char>>(begin, begin + bytes);
  enqueue(stream_of(handle), {"upload", bytes, [=] {
                                check_still_there("a copy to the device", *allocation);
                                memcpy(device, staged->data(), bytes);
                              }, Work::UPLOAD});
  return SUCCESS;
}

Result download(void* to, uintptr_t from, size_t bytes, void* handle) {
  Locked locked;
  if (!bytes) return SUCCESS;
  const auto* device = reinterpret_cast<const void*>(from);
  const AllocationHandle allocation = check_range("a copy from the device", device, bytes);
  const bool returns_at_once = is_pinned(to);
  if (!returns_at_once && takes_address(stream_of(handle))) return SUCCESS;
  submit(stream_of(handle), {"download", bytes, [=] {
                               check_still_there("a copy from the device", *allocation);
                               memcpy(to, device, bytes);
                             }, Work::DOWNLOAD});
  if (returns_at_once) return SUCCESS;
  ++counters.blocking_downloads;
  finish(stream_of(handle));
  return SUCCESS;
}

Result copy_on_device(uintptr_t to, uintptr_t from, size_t bytes, void* handle) {
  Locked locked;
  if (!bytes) return SUCCESS;
  auto* target = reinterpret_cast<void*>(to);
  const auto* source = reinterpret_cast<const void*>(from);
  const AllocationHandle read = check_range("a copy on the device, reading,", source, bytes);
  const AllocationHandle written = check_range("a copy on the device, writing,", target, bytes);
  submit(stream_of(handle), {"device copy", bytes, [=] {
                               check_still_there("a copy on the device", *read);
                               check_still_there("a copy on the device", *written);
                               memmove(target, source, bytes);
                             }, Work::DEVICE_COPY});
  return SUCCESS;
}

template <class T> Result fill(uintptr_t address, T value, size_t n, void* handle) {
  Locked locked;
  if (!n) return SUCCESS;
  auto* begin = reinterpret_cast<T*>(address);
  const AllocationHandle allocation = check_range("a memset", begin, n * sizeof(T));
  submit(stream_of(handle), {"memset", n * sizeof(T), [=] {
                               check_still_there("a memset", *allocation);
                               std::fill_n(begin, n, value);
                             }, Work::MEMSET});
  return SUCCESS;
}

// The forms without a stream return when the copy is done.
Result and_wait(Result result) {
  Locked locked;
  finish(stream_of(nullptr));
  return result;
}

}  // namespace

CUDA_API int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t n, void* s) { return upload(to, from, n, s); }
CUDA_API int cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t n, void* s) { return download(to, from, n, s); }
CUDA_API int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t n, void* s) { return copy_on_device(to, from, n, s); }
CUDA_API int cuMemcpyHtoD_v2(uintptr_t to, const void* from, size_t n) { return and_wait(upload(to, from, n, nullptr)); }
CUDA_API int cuMemcpyDtoH_v2(void* to, uintptr_t from, size_t n) { return and_wait(download(to, from, n, nullptr)); }
CUDA_API int cuMemcpyDtoD_v2(uintptr_t to, uintptr_t from, size_t n) { return copy_on_device(to, from, n, nullptr); }
CUDA_API int cuMemcpyPeerAsync(uintptr_t, void*, uintptr_t, void*, size_t, void*) { return NOT_SUPPORTED; }
CUDA_API int cuMemsetD8_v2(uintptr_t p, unsigned char value, size_t n) { return fill(p, value, n, nullptr); }
CUDA_API int cuMemsetD8Async(uintptr_t p, unsigned char value, size_t n, void* s) { return fill(p, value, n, s); }
CUDA_API int cuMemsetD16Async(uintptr_t p, unsigned short value, size_t n, void* s) { return fill(p, value, n, s); }
CUDA_API int cuMemsetD32Async(uintptr_t p, unsigned value, size_t n, void* s) { return fill(p, value, n, s); }

}  // namespace driver
