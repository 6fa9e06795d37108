// Random numbers by name: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), the bits of the
// program's own on the CPU.
// Not here: what is drawn.
#pragma once
#include <cstdint>

// A named stream. The counter's first word is the position of the block of numbers that is read.
struct Stream {
  uint32_t key[2], counter[4];
};

struct Block {
  uint32_t at[4];
};

// The four numbers at a position of a stream.
__device__ inline Block philox(const Stream& stream, uint32_t position) {
  uint32_t a = position, b = stream.counter[1], c = stream.counter[2], d = stream.counter[3];
  uint32_t key0 = stream.key[0], key1 = stream.key[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = uint64_t(0xD2511F53) * a, second = uint64_t(0xCD9E8D57) * c;
    a = uint32_t(second >> 32) ^ b ^ key0;
    c = uint32_t(first >> 32) ^ d ^ key1;
    b = uint32_t(second);
    d = uint32_t(first);
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return {{a, b, c, d}};
}
