// What the lanes of a warp do together: shuffles, votes, matrix products, `__syncwarp`. Each lane brings an operand, which
// lies in its own frame and so stays where it is while the lane waits; the last one to come does the work of all.
// Not here: the operations themselves (include/warp.h, include/tensor_core.h).
#include "executor/block.h"
#include "executor/fault.h"

#include <cstring>

namespace simt {
namespace {

// Does the work of the meetings that nobody is missing from any more, and lets their lanes go on.
void finish_meetings(unsigned warp_index) {
  Warp& warp = block.warps[warp_index];
  for (size_t i = 0; i < warp.meetings.size();) {
    Meeting& meeting = warp.meetings[i];
    if (meeting.arrived != (meeting.mask & warp.alive)) {
      ++i;
      continue;
    }
    if (meeting.work) meeting.work(meeting.operands);
    for (unsigned lane = 0; lane < 32; ++lane)
      if (meeting.arrived >> lane & 1) block.threads[warp_index * 32 + lane].state = Thread::READY;
    warp.meetings.erase(warp.meetings.begin() + i);
  }
}

// Lanes may wait for each other with different masks for a while (half a warp is done with its own shuffles, the other half is
// not); masks that never agree end in a deadlock, whose report names them.
Meeting& find_meeting(Warp& warp, unsigned mask, const char* operation, Place place) {
  for (Meeting& meeting : warp.meetings) {
    if (meeting.mask != mask) continue;
    if (strcmp(meeting.operation, operation) != 0)
      fault("lanes of a warp do different things", "some %s, others %s at %s:%d,", meeting.operation, operation, place.file,
            place.line);
    return meeting;
  }
  warp.meetings.push_back({mask, 0, operation, nullptr, {}});
  return warp.meetings.back();
}

}  // namespace

unsigned current_lane() { return current % 32; }

unsigned lanes_alive() { return block.warps[current / 32].alive; }

void meet(unsigned mask, const char* operation, Place place, Work work, void* operand) {
  const unsigned lane = current % 32;
  if (!(mask >> lane & 1))
    fault("lane outside its mask", "%s with mask %08x called by lane %u at %s:%d,", operation, mask, lane, place.file,
          place.line);
  Meeting& meeting = find_meeting(block.warps[current / 32], mask, operation, place);
  meeting.arrived |= 1u << lane;
  meeting.work = work;
  meeting.operands[lane] = operand;
  Thread& thread = block.threads[current];
  thread.state = Thread::WAITING;
  thread.mask = mask;
  finish_meetings(current / 32);
  if (thread.state == Thread::WAITING) return wait(operation, place);
}

void leave_meetings() {
  block.warps[current / 32].alive &= ~(1u << current % 32);
  if (!block.warps[current / 32].meetings.empty()) finish_meetings(current / 32);
}

}  // namespace simt
