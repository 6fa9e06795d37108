// Short vectors: several numbers that one instruction loads or stores.
#pragma once

#define EMULATED_VECTORS(T, NAME, PER_2, PER_4)                                   \
  struct alignas(PER_2) NAME##2 {                                                 \
    T x, y;                                                                       \
  };                                                                              \
  struct NAME##3 {                                                                \
    T x, y, z;                                                                    \
  };                                                                              \
  struct alignas(PER_4) NAME##4 {                                                 \
    T x, y, z, w;                                                                 \
  };                                                                              \
  inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                      \
  inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }

EMULATED_VECTORS(float, float, 8, 16)
EMULATED_VECTORS(int, int, 8, 16)
EMULATED_VECTORS(unsigned short, ushort, 4, 8)
EMULATED_VECTORS(unsigned char, uchar, 2, 4)
EMULATED_VECTORS(double, double, 16, 16)
EMULATED_VECTORS(long long, longlong, 16, 16)

// `uint3`, the type of threadIdx, is the executor's.
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
