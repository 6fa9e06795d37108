// The barrier of a block. Threads that have ended are not waited for, as on a GPU since Volta; threads that wait at two
// different lines of the source are a fault, although a GPU would let them pass: the language forbids it.
// Not here: barriers of a warp (meetings.cpp).
#include "executor/block.h"
#include "executor/fault.h"

#include <cstring>

namespace simt {
namespace {

constexpr const char* BARRIER = "__syncthreads";

void open_barrier() {
  block.n_at_barrier = 0;
  for (Thread& thread : block.threads)
    if (thread.state == Thread::WAITING && thread.waits_for == BARRIER) thread.state = Thread::READY;
}

}  // namespace

void wait_for_block(Place place) {
  if (block.n_at_barrier == 0) block.barrier_place = place;
  const Place& first = block.barrier_place;
  if (place.line != first.line || (place.file != first.file && strcmp(place.file, first.file) != 0))
    fault("divergent barrier", "some threads wait at %s:%d, others at %s:%d,", first.file, first.line, place.file, place.line);
  if (++block.n_at_barrier == block.n_alive) return open_barrier();
  block.threads[current].mask = ~0u;
  wait(BARRIER, place);
}

void leave_barrier() {
  if (block.n_at_barrier && block.n_at_barrier == block.n_alive) open_barrier();
}

}  // namespace simt
