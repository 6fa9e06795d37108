// Streams: queues of work, and when it is done. Without EMU_LAZY work is done in the call that asks for it. With it, nothing is
// done before somebody waits, and then streams take turns at random: as late and as mixed as the rules allow.
// Not here: what the work is (launch.cpp, copy.cpp), graphs (graph.cpp).
#pragma once
#include "driver/result.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace driver {

struct Work {
  enum Kind { BOOKKEEPING, KERNEL, PRODUCT, UPLOAD, DOWNLOAD, DEVICE_COPY, MEMSET, HOST_FUNCTION };
  std::string name;  // in the counters; empty for bookkeeping
  uint64_t amount;   // threads of a kernel, bytes of a copy, multiplications of a product
  std::function<void()> run;
  Kind kind = BOOKKEEPING;
};

struct Graph {
  std::vector<Work> nodes;
  std::string obstacle;  // why the emulated device cannot run it; empty if it can
};

struct Capture {
  Graph graph;
  std::vector<uintptr_t> allocations;  // made in it and not freed yet
  bool is_invalid = false;             // something forbidden was asked for; the end of the capture fails
  bool has_ended = false;
};

struct Event {
  bool has_timing = true;                // made without CU_EVENT_DISABLE_TIMING
  uint64_t n_records = 0;                // how often it was recorded
  uint64_t n_done = 0;                   // the last of those records that has happened
  int64_t happened_at = 0;               // nanoseconds
  std::shared_ptr<Capture> captured_in;  // the capture its last record belongs to, perhaps over
};
using EventHandle = std::shared_ptr<Event>;  // work that was queued keeps an event that was destroyed

struct Operation {
  Work work;
  EventHandle awaits;      // may be null
  uint64_t record_number;  // the record of `awaits` that must have happened
};

struct Stream {
  bool waits_for_null_stream;  // made without CU_STREAM_NON_BLOCKING
  std::deque<Operation> queue;
  std::shared_ptr<Capture> capture;
};

// Null and 1 are the default stream, 2 is that of the thread (one for all threads here).
Stream& stream_of(void* handle);

// Does the work, or puts it into the queue. Not for a stream that is being captured.
void enqueue(Stream& stream, Work work);
// As `enqueue`, or adds the work to the stream's capture.
void submit(Stream& stream, Work work);
// Allows what the real driver allows in a capture although a graph with it cannot be run here: instantiating it stops the program.
void put_obstacle(Capture& capture, const char* obstacle);
// Lets the stream wait for the last record of the event.
void enqueue_wait(Stream& stream, const EventHandle& event);

void run_until(const std::function<bool()>& is_done);
void finish(Stream& stream);
void finish_all();
// Does one piece of work, if there is any that can be done.
void make_progress();

// True if the stream is being captured, which this call ruins.
bool refuse_in_capture(void* stream);

}  // namespace driver
