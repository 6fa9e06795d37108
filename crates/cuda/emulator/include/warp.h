// Shuffles, votes and `__syncwarp`. A value that a lane asks of one that is not there comes back as 0xff, a NaN, where CUDA
// leaves it undefined. Not here: how lanes find each other (executor/meetings.cpp).
#pragma once
#include "executor/executor.h"

#include <cstring>

namespace simt {

template <class T> struct Exchange {
  T value;
  int source;  // the lane whose value it wants
};

template <class T> void exchange_all(void* (&operands)[32]) {
  T values[32];
  memset(static_cast<void*>(values), 0xff, sizeof values);
  for (int lane = 0; lane < 32; ++lane)
    if (operands[lane]) values[lane] = static_cast<Exchange<T>*>(operands[lane])->value;
  for (int lane = 0; lane < 32; ++lane) {
    if (!operands[lane]) continue;
    auto& mine = *static_cast<Exchange<T>*>(operands[lane]);
    mine.value = values[mine.source];
  }
}

template <class T> T exchange(unsigned mask, const char* operation, T value, int source, Place place) {
  Exchange<T> mine{value, source};
  meet(mask, operation, place, exchange_all<T>, &mine);
  return mine.value;
}

struct Vote {
  bool mine;
  unsigned all;  // the lanes that voted yes
};

inline void count_votes(void* (&operands)[32]) {
  unsigned all = 0;
  for (int lane = 0; lane < 32; ++lane)
    if (operands[lane] && static_cast<Vote*>(operands[lane])->mine) all |= 1u << lane;
  for (void* operand : operands)
    if (operand) static_cast<Vote*>(operand)->all = all;
}

}  // namespace simt

#define EMULATED_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncwarp(unsigned mask = ~0u, EMULATED_PLACE) { simt::meet(mask, "__syncwarp", {file, line}, nullptr, nullptr); }
inline unsigned __activemask() { return simt::lanes_alive(); }

// `width` cuts the warp into pieces of that many lanes; a source beyond the piece gives the lane its own value.
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATED_PLACE) {
  const int lane = simt::current_lane(), piece = lane / width * width;
  return simt::exchange(mask, "__shfl_sync", value, piece + (source & (width - 1)), {file, line});
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int flipped, int width = 32, EMULATED_PLACE) {
  const int lane = simt::current_lane(), end = lane / width * width + width, source = lane ^ flipped;
  return simt::exchange(mask, "__shfl_xor_sync", value, source < end ? source : lane, {file, line});
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, EMULATED_PLACE) {
  const int lane = simt::current_lane(), piece = lane / width * width, source = lane - int(distance);
  return simt::exchange(mask, "__shfl_up_sync", value, source >= piece ? source : lane, {file, line});
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, EMULATED_PLACE) {
  const int lane = simt::current_lane(), end = lane / width * width + width, source = lane + int(distance);
  return simt::exchange(mask, "__shfl_down_sync", value, source < end ? source : lane, {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int condition, EMULATED_PLACE) {
  simt::Vote vote{condition != 0, 0};
  simt::meet(mask, "__ballot_sync", {file, line}, simt::count_votes, &vote);
  return vote.all;
}
inline int __any_sync(unsigned mask, int condition, EMULATED_PLACE) {
  simt::Vote vote{condition != 0, 0};
  simt::meet(mask, "__any_sync", {file, line}, simt::count_votes, &vote);
  return vote.all != 0;
}
// Lanes that have ended do not vote: nobody may have said no.
inline int __all_sync(unsigned mask, int condition, EMULATED_PLACE) {
  simt::Vote vote{condition == 0, 0};
  simt::meet(mask, "__all_sync", {file, line}, simt::count_votes, &vote);
  return vote.all == 0;
}
