// What the lanes of a warp do together: shuffles, votes, matrix products, `__syncwarp`. Each lane brings an operand, which
// lies in its own frame and so stays where it is while the lane waits; the last one to come does the work of all.
// Not here: the operations themselves (include/warp.h, include/tensor_core.h).
#include "executor/block.h"
#include "executor/fault.h"

#include <cstring>

namespace simt {
namespace {

// Does the work of a meeting that nobody is missing from any more, and lets its lanes go on. False if somebody is.
bool finish(unsigned warp_index, size_t meeting_index) {
  Warp& warp = block.warps[warp_index];
  Meeting& meeting = warp.meetings[meeting_index];
  if (meeting.arrived != (meeting.mask & warp.alive)) return false;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (meeting.arrived >> lane & 1) block.threads[warp_index * 32 + lane].state = Thread::READY;
    else meeting.operands[lane] = nullptr;
  }
  if (meeting.work) meeting.work(meeting.operands);
  warp.meetings.erase(warp.meetings.begin() + meeting_index);
  return true;
}

// Lanes may wait for each other with different masks for a while (half a warp is done with its own shuffles, the other half is
// not); masks that never agree end in a deadlock, whose report names them.
size_t find_meeting(Warp& warp, unsigned mask, const char* operation, Place place) {
  for (size_t i = 0; i < warp.meetings.size(); ++i) {
    const Meeting& meeting = warp.meetings[i];
    if (meeting.mask != mask) continue;
    if (meeting.operation != operation && strcmp(meeting.operation, operation) != 0)
      fault("lanes of a warp do different things", "some %s, others %s at %s:%d,", meeting.operation, operation, place.file,
            place.line);
    return i;
  }
  warp.meetings.emplace_back(mask, operation);
  return warp.meetings.size() - 1;
}

}  // namespace

unsigned current_lane() { return current % 32; }

unsigned lanes_alive() { return block.warps[current / 32].alive; }

void meet(unsigned mask, const char* operation, Place place, Work work, void* operand) {
  const unsigned lane = current % 32;
  if (!(mask >> lane & 1))
    fault("lane outside its mask", "%s with mask %08x called by lane %u at %s:%d,", operation, mask, lane, place.file,
          place.line);
  Warp& warp = block.warps[current / 32];
  const size_t index = find_meeting(warp, mask, operation, place);
  Meeting& meeting = warp.meetings[index];
  meeting.arrived |= 1u << lane;
  meeting.work = work;
  meeting.operands[lane] = operand;
  Thread& thread = block.threads[current];
  thread.state = Thread::WAITING;
  thread.mask = mask;
  if (!finish(current / 32, index)) wait(operation, place);
}

void leave_meetings() {
  Warp& warp = block.warps[current / 32];
  warp.alive &= ~(1u << current % 32);
  for (size_t i = 0; i < warp.meetings.size();)
    if (!finish(current / 32, i)) ++i;
}

}  // namespace simt
