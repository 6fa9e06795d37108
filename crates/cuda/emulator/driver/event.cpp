// Events. A handle of the interface points to an EventHandle. Not here: captures (graph.cpp).
#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/settings.h"
#include "driver/stream.h"
#include "executor/fault.h"

#include <algorithm>
#include <chrono>

namespace driver {
namespace {

EventHandle& event_of(void* handle) { return *static_cast<EventHandle*>(handle); }

constexpr unsigned DISABLE_TIMING = 2;  // CU_EVENT_DISABLE_TIMING

// What a question from outside about an event that was last recorded in a capture gets. It ruins a capture that goes on.
Result refusal(const Event& event) {
  if (!event.captured_in) return SUCCESS;
  if (event.captured_in->has_ended) return INVALID_VALUE;
  event.captured_in->is_invalid = true;
  return CAPTURED_EVENT;
}

int64_t nanoseconds() { return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

}  // namespace

CUDA_API int cuEventCreate(void** handle, unsigned flags) {
  Locked locked;
  ++counters.events_created;
  const auto event = std::make_shared<Event>();
  event->has_timing = !(flags & DISABLE_TIMING);
  *handle = new EventHandle(event);
  return SUCCESS;
}

CUDA_API int cuEventDestroy_v2(void* handle) {
  Locked locked;
  delete &event_of(handle);
  return SUCCESS;
}

CUDA_API int cuEventRecord(void* handle, void* stream_handle) {
  Locked locked;
  ++counters.event_records;
  Stream& stream = stream_of(stream_handle);
  const EventHandle event = event_of(handle);
  event->captured_in = stream.capture;
  if (stream.capture) return SUCCESS;  // work of one stream runs in its order anyway
  const uint64_t number = ++event->n_records;
  enqueue(stream, {"", 0, [=] {
                     event->n_done = std::max(event->n_done, number);
                     event->happened_at = nanoseconds();
                   }});
  return SUCCESS;
}

CUDA_API int cuStreamWaitEvent(void* stream_handle, void* handle, unsigned) {
  Locked locked;
  ++counters.event_waits;
  Stream& stream = stream_of(stream_handle);
  const EventHandle& event = event_of(handle);
  const bool was_used = event->n_records || event->captured_in;
  if (stream.capture && was_used && event->captured_in != stream.capture) {
    stream.capture->is_invalid = true;
    return CAPTURE_ISOLATION;
  }
  if (stream.capture) return SUCCESS;
  if (event->captured_in) simt::fault("not emulated", "a second stream joins a capture");
  enqueue_wait(stream, event);
  return SUCCESS;
}

CUDA_API int cuEventQuery(void* handle) {
  Locked locked;
  const EventHandle& event = event_of(handle);
  if (const Result refused = refusal(*event)) return refused;
  if (event->n_done >= event->n_records) return SUCCESS;
  make_progress();  // so that polling comes to an end
  return NOT_READY;
}

CUDA_API int cuEventSynchronize(void* handle) {
  Locked locked;
  const EventHandle event = event_of(handle);
  if (const Result refused = refusal(*event)) return refused;
  ++counters.synchronizations;
  run_until([&, last = event->n_records] { return event->n_done >= last; });
  return SUCCESS;
}

CUDA_API int cuEventElapsedTime(float* milliseconds, void* start, void* end) {
  Locked locked;
  const EventHandle &first = event_of(start), &second = event_of(end);
  if (!first->has_timing || !second->has_timing) return INVALID_HANDLE;
  if (!first->n_records || !second->n_records) return INVALID_HANDLE;
  if (first->n_done < first->n_records || second->n_done < second->n_records) return NOT_READY;
  *milliseconds = (second->happened_at - first->happened_at) * 1e-6f;
  return SUCCESS;
}

CUDA_API int cuEventElapsedTime_v2(float* milliseconds, void* start, void* end) {
  return cuEventElapsedTime(milliseconds, start, end);
}

}  // namespace driver
