// cp.async: a copy to shared memory that is there only after its group was waited for. In even orders a copy is done when it
// is waited for, the latest moment allowed, so that a wait which is too weak reads 0xff; in odd ones at once, the earliest, so
// that a buffer which is still being read is overwritten.
#include "executor/block.h"
#include "executor/fault.h"

#include <cstring>

namespace simt {
namespace {

bool any_this_block;

void perform(const AsyncCopy& copy) {
  memset(copy.to, 0, copy.bytes);
  memcpy(copy.to, copy.from, copy.bytes_read);
}

}  // namespace

void copy_async(void* to, const void* from, unsigned bytes, unsigned bytes_read, Place place) {
  if (bytes_read > bytes || uintptr_t(to) % bytes || (bytes_read && uintptr_t(from) % bytes))
    fault("misaligned address", "cp.async of %u bytes to %p from %p at %s:%d,", bytes, to, from, place.file, place.line);
  any_this_block = true;
  const AsyncCopy copy{to, from, bytes, bytes_read};
  if (thread_order() % 2) perform(copy);
  else block.threads[current].copies.push_back(copy);
}

void commit_async_copies() {
  any_this_block = true;
  Thread& thread = block.threads[current];
  thread.group_ends.push_back(thread.copies.size());
}

void wait_for_async_copies(size_t groups_that_may_remain) {
  Thread& thread = block.threads[current];
  while (thread.group_ends.size() - thread.n_groups_done > groups_that_may_remain) {
    const size_t end = thread.group_ends[thread.n_groups_done++];
    while (thread.n_copies_done < end) perform(thread.copies[thread.n_copies_done++]);
  }
}

void forget_async_copies() {
  if (!any_this_block) return;
  any_this_block = false;
  for (Thread& thread : block.threads) {
    thread.copies.clear();
    thread.group_ends.clear();
    thread.n_copies_done = thread.n_groups_done = 0;
  }
}

}  // namespace simt
