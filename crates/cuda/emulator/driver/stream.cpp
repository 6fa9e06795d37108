// Queues of work and the order in which streams take turns. See stream.h.
#include "driver/stream.h"

#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/settings.h"
#include "executor/executor.h"
#include "executor/fault.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>

namespace driver {
namespace {

Stream null_stream{true, {}, nullptr};
Stream thread_stream{true, {}, nullptr};
std::vector<Stream*> streams{&null_stream, &thread_stream};

// With more than that in its queue a stream goes on by itself: what waits keeps memory, which is guarded page by page.
constexpr size_t MOST_WAITING = 4000;

constexpr unsigned NON_BLOCKING = 1;  // CU_STREAM_NON_BLOCKING

// The choice of streams follows EMU_ORDER as well, so that runs in other orders mix them in other ways.
std::mt19937& random_turns() {
  static std::mt19937 random([] {
    const char* order = getenv("EMU_ORDER");
    return 1 + (order ? atoi(order) : 0);
  }());
  return random;
}

void count(const Work& work) {
  switch (work.kind) {
    case Work::KERNEL: ++counters.launches; break;
    case Work::PRODUCT: ++counters.products; break;
    case Work::UPLOAD:
      ++counters.uploads;
      counters.upload_bytes += work.amount;
      break;
    case Work::DOWNLOAD:
      ++counters.downloads;
      counters.download_bytes += work.amount;
      break;
    case Work::DEVICE_COPY: ++counters.device_copies; break;
    case Work::MEMSET: ++counters.memsets; break;
    case Work::HOST_FUNCTION:
    case Work::BOOKKEEPING: break;
  }
}

void run(const Work& work) {
  if (work.kind == Work::BOOKKEEPING) return work.run();
  const auto start = std::chrono::steady_clock::now();
  work.run();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  count_execution(work.name, work.amount, taken.count());
}

bool can_go_on(const Stream& stream) {
  if (stream.queue.empty()) return false;
  const Operation& next = stream.queue.front();
  return !next.awaits || next.awaits->n_done >= next.record_number;
}

void run_next(Stream& stream) {
  const Operation next = std::move(stream.queue.front());
  stream.queue.pop_front();
  run(next.work);
}

// The default stream waits for the streams that did not opt out, and they for it.
void respect_default_stream(Stream& stream) {
  if (&stream != &null_stream) {
    if (stream.waits_for_null_stream) finish(null_stream);
    return;
  }
  for (size_t i = 0; i < streams.size(); ++i)
    if (streams[i] != &null_stream && streams[i]->waits_for_null_stream) finish(*streams[i]);
}

}  // namespace

Stream& stream_of(void* handle) {
  if (!handle || handle == reinterpret_cast<void*>(1)) return null_stream;
  if (handle == reinterpret_cast<void*>(2)) return thread_stream;
  auto* stream = static_cast<Stream*>(handle);
  if (std::find(streams.begin(), streams.end(), stream) == streams.end())
    simt::fault("bad handle", "%p is not a stream, or was destroyed", handle);
  return *stream;
}

void enqueue(Stream& stream, Work work) {
  count(work);
  if (!settings().lazy) return run(work);
  respect_default_stream(stream);
  stream.queue.push_back({std::move(work), nullptr, 0});
  if (stream.queue.size() > MOST_WAITING) run_until([&] { return stream.queue.size() <= MOST_WAITING / 2; });
}

void submit(Stream& stream, Work work) {
  if (stream.capture) stream.capture->graph.nodes.push_back(std::move(work));
  else enqueue(stream, std::move(work));
}

void put_obstacle(Capture& capture, const char* obstacle) {
  if (capture.graph.obstacle.empty()) capture.graph.obstacle = obstacle;
}

void enqueue_wait(Stream& stream, const EventHandle& event) {
  if (event->n_done >= event->n_records) return;
  stream.queue.push_back({{"", 0, [] {}}, event, event->n_records});
}

void run_until(const std::function<bool()>& is_done) {
  while (!is_done()) {
    std::vector<Stream*> choice;
    for (Stream* stream : streams)
      if (can_go_on(*stream)) choice.push_back(stream);
    if (choice.empty()) simt::fault("deadlock", "streams wait for each other");
    run_next(*choice[random_turns()() % choice.size()]);
  }
}

void finish(Stream& stream) {
  run_until([&] { return stream.queue.empty(); });
}

void finish_all() {
  run_until([] { return std::all_of(streams.begin(), streams.end(), [](Stream* stream) { return stream->queue.empty(); }); });
}

void make_progress() {
  for (Stream* stream : streams)
    if (can_go_on(*stream)) return run_next(*stream);
}

bool refuse_in_capture(void* handle) {
  Stream& stream = stream_of(handle);
  if (!stream.capture) return false;
  stream.capture->is_invalid = true;
  return true;
}

// ---- The driver's interface

CUDA_API int cuStreamCreate(void** handle, unsigned flags) {
  Locked locked;
  ++counters.streams_created;
  streams.push_back(new Stream{!(flags & NON_BLOCKING), {}, nullptr});
  *handle = streams.back();
  return SUCCESS;
}

CUDA_API int cuStreamCreateWithPriority(void** handle, unsigned flags, int) { return cuStreamCreate(handle, flags); }

CUDA_API int cuStreamDestroy_v2(void* handle) {
  Locked locked;
  Stream& stream = stream_of(handle);
  finish(stream);
  streams.erase(std::find(streams.begin(), streams.end(), &stream));
  delete &stream;
  return SUCCESS;
}

CUDA_API int cuStreamSynchronize(void* handle) {
  Locked locked;
  if (refuse_in_capture(handle)) return CAPTURE_UNSUPPORTED;
  ++counters.synchronizations;
  finish(stream_of(handle));
  return SUCCESS;
}

CUDA_API int cuStreamQuery(void* handle) {
  Locked locked;
  if (refuse_in_capture(handle)) return CAPTURE_UNSUPPORTED;
  if (stream_of(handle).queue.empty()) return SUCCESS;
  make_progress();  // so that polling comes to an end
  return NOT_READY;
}

CUDA_API int cuStreamAttachMemAsync(void*, uintptr_t, size_t, unsigned) { return SUCCESS; }

CUDA_API int cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
  Locked locked;
  submit(stream_of(handle), {"host function", 1, [=] { function(data); }, Work::HOST_FUNCTION});
  return SUCCESS;
}

CUDA_API int cuCtxSynchronize() {
  Locked locked;
  for (Stream* stream : streams)
    if (stream->capture) return CAPTURE_UNSUPPORTED;
  ++counters.synchronizations;
  finish_all();
  return SUCCESS;
}

}  // namespace driver
