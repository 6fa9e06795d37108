// The state of the block that runs, shared by the files of the executor. Nobody else includes this.
#pragma once
#include "executor/executor.h"
#include "executor/fiber.h"

#include <vector>

namespace simt {

struct AsyncCopy {
  void* to;
  const void* from;
  unsigned bytes, bytes_read;
};

struct Thread {
  enum State { FRESH, READY, WAITING, ENDED } state;
  uint3 index;            // threadIdx
  Fiber* fiber;           // where its frames are; null before it starts and after it ends
  const char* waits_for;  // what it called, and where, while it waits
  Place place;
  bool has_waited;        // for the kernels ahead
  unsigned mask;          // of the meeting it waits for; all lanes at the barrier of the block
  std::vector<AsyncCopy> copies;   // oldest first
  std::vector<size_t> group_ends;  // the number of copies when each group was committed, oldest first
  size_t n_copies_done, n_groups_done;
};

// Lanes of a warp on their way to do something together.
struct Meeting {
  unsigned mask, arrived;
  const char* operation;
  Work work;
  void* operands[32];  // of the lanes that have arrived; the others hold anything
  Meeting(unsigned mask, const char* operation) : mask(mask), arrived(0), operation(operation) {}
};

struct Warp {
  unsigned alive;  // lanes that have not ended, as a mask
  std::vector<Meeting> meetings;
};

struct Block {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  unsigned n_alive, n_at_barrier;
  Place barrier_place;  // of the first thread at the barrier
};

extern Block block;
extern unsigned current;  // index of the running thread in its block
extern const Launch* running;

// Gives the processor to another thread until somebody makes this one READY.
void wait(const char* waits_for, Place place);
// What the end of the current thread means for the barrier and the meetings of its warp.
void leave_barrier();
void leave_meetings();

void prepare_shared_memory();
void free_shared_memory();
void forget_async_copies();

// The order of threads asked for by EMU_ORDER.
int thread_order();

}  // namespace simt
