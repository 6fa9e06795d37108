// Which thread of a block runs when. EMU_ORDER 0 takes threads forwards and 1 backwards, in step; from 2 on, the number seeds
// a choice: a random warp runs as far as it gets, its lanes forwards or backwards. A missing barrier shows in some orders only.
// Not here: what threads wait for (barrier.cpp, meetings.cpp).
#include "executor/block.h"
#include "executor/fault.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>

namespace simt {

uint3 thread_index, block_index;
dim3 block_size, grid_size;
uint64_t block_serial;
Block block;
unsigned current;
const Launch* running;

namespace {

constexpr uint64_t WATCHED_PERIOD = 8;  // one block of so many is watched

Fiber scheduler;            // the stack that `launch` was called on
Fiber* running_fiber;
std::vector<Fiber*> idle;   // fibers whose threads have ended

// A sweep goes once over a range of threads, forwards or backwards.
struct Sweep {
  unsigned next, n_left;
  bool backwards;
  void advance() {
    next += backwards ? -1 : 1;
    --n_left;
  }
} sweep;

void make_current(unsigned thread) {
  current = thread;
  thread_index = block.threads[thread].index;
}

// From one stack to another.
void switch_from(Fiber& from, Fiber* to) {
  running_fiber = to;
  (to ? to : &scheduler)->resume(from);
}

// Runs threads that have not started, one after another; a thread that waits keeps the fiber, and the sweep goes on in
// another one. So threads that never wait share one fiber and cost no switch.
void run_fresh_threads() {
  for (;;) {
    while (sweep.n_left && block.threads[sweep.next].state == Thread::FRESH) {
      make_current(sweep.next);
      sweep.advance();
      block.threads[current].fiber = running_fiber;
      running->kernel->run(running->values);
      Thread& thread = block.threads[current];
      if (running->begins_early && !thread.has_waited)
        fault("missing wait", "the kernel began early, and ends without having waited for those ahead,");
      thread.state = Thread::ENDED;
      thread.fiber = nullptr;
      --block.n_alive;
      leave_barrier();
      leave_meetings();
    }
    idle.push_back(running_fiber);
    switch_from(*running_fiber, nullptr);
  }
}

Fiber* take_fiber() {
  if (idle.empty()) return new Fiber(run_fresh_threads);
  Fiber* fiber = idle.back();
  idle.pop_back();
  return fiber;
}

// The fiber for the next thread of the sweep that can run; null where none is left.
Fiber* next_of_sweep() {
  while (sweep.n_left) {
    const Thread& thread = block.threads[sweep.next];
    if (thread.state == Thread::FRESH) return take_fiber();
    const bool can_run = thread.state == Thread::READY;
    if (can_run) make_current(sweep.next);
    sweep.advance();
    if (can_run) return thread.fiber;
  }
  return nullptr;
}

// Lets every thread of the range that can run do so until it waits or ends. False if none could.
bool run_range(unsigned first, unsigned n, bool backwards) {
  sweep = {backwards ? first + n - 1 : first, n, backwards};
  bool progress = false;
  while (Fiber* next = next_of_sweep()) {
    progress = true;
    switch_from(scheduler, next);
  }
  return progress;
}

[[noreturn]] void report_deadlock() {
  std::map<std::string, unsigned> waiting;
  for (const Thread& thread : block.threads) {
    if (thread.state != Thread::WAITING) continue;
    char what[300];
    snprintf(what, sizeof what, "%s of lanes %08x at %s:%d", thread.waits_for, thread.mask, thread.place.file,
             thread.place.line);
    ++waiting[what];
  }
  std::string text;
  for (const auto& [what, n] : waiting) text += (text.empty() ? "" : "; ") + std::to_string(n) + " in " + what;
  const unsigned n_ended = block.threads.size() - block.n_alive;
  fault("deadlock", "threads wait for others that never come: %s; %u have ended,", text.c_str(), n_ended);
}

// `is_watched`: whether what it may not touch yet is forbidden to it, should it begin early.
void run_block(bool is_watched) {
  const unsigned n = block.threads.size(), n_warps = block.warps.size();
  ++block_serial;
  prepare_shared_memory();
  block.n_alive = n;
  block.n_at_barrier = 0;
  for (Thread& thread : block.threads) thread.state = Thread::FRESH, thread.has_waited = false;
  if (running->begins_early && is_watched) precaution.forbid();
  for (unsigned i = 0; i < n_warps; ++i) {
    const unsigned lanes = std::min(32u, n - i * 32);
    block.warps[i].alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
  }
  static std::mt19937 random(thread_order());
  static std::vector<unsigned> turns;
  while (block.n_alive) {
    bool progress = false;
    if (thread_order() < 2) {
      progress = run_range(0, n, thread_order() == 1);
    } else {
      turns.resize(n_warps);
      for (unsigned i = 0; i < n_warps; ++i) turns[i] = i;
      std::shuffle(turns.begin(), turns.end(), random);
      for (unsigned warp : turns)
        while (run_range(warp * 32, std::min(32u, n - warp * 32), random() % 2)) progress = true;
    }
    if (!progress) report_deadlock();
  }
  forget_async_copies();
}

}  // namespace

int thread_order() {
  static const int order = [] {
    const char* text = getenv("EMU_ORDER");
    return text ? atoi(text) : 0;
  }();
  return order;
}

const char* running_kernel() { return running ? running->kernel->name : nullptr; }

bool overflows_stack(const void* address) { return running_fiber && running_fiber->overflows_at(address); }

void wait(const char* waits_for, Place place) {
  Thread& thread = block.threads[current];
  thread.state = Thread::WAITING;
  thread.waits_for = waits_for;
  thread.place = place;
  switch_from(*running_fiber, next_of_sweep());  // straight to the next thread
}

void launch(const Launch& what) {
  running = &what;
  grid_size = what.grid;
  block_size = what.block;
  const unsigned n = what.block.x * what.block.y * what.block.z;
  block.threads.resize(n);
  block.warps.resize((n + 31) / 32);
  for (unsigned i = 0; i < n; ++i)
    block.threads[i].index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
  const uint64_t per_row = what.grid.x, per_plane = per_row * what.grid.y, n_blocks = per_plane * what.grid.z;
  // Forbidding memory and allowing it again takes longer than many a block, so a few of them are watched, others in each launch.
  static std::mt19937 random(thread_order());
  const uint64_t watched = random() % std::min(n_blocks, WATCHED_PERIOD);
  for (uint64_t i = 0; i < n_blocks; ++i) {
    const uint64_t at = thread_order() == 1 ? n_blocks - 1 - i : i;
    block_index = {unsigned(at % per_row), unsigned(at % per_plane / per_row), unsigned(at / per_plane)};
    run_block(at % WATCHED_PERIOD == watched);
  }
  free_shared_memory();
  running = nullptr;
}

}  // namespace simt
