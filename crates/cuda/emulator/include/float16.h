// The two 16-bit floats. A value is its bits; every operation is done in f32 and rounded to nearest even, as on the hardware.
// Not here: 8-bit floats (float8.h), tensor cores (tensor_core.h).
#pragma once
#include "arithmetic.h"
#include "vector_types.h"

namespace simt {

struct BFloat16Format {
  static float value(uint16_t bits) { return same_bits<float>(uint32_t(bits) << 16); }
  static uint16_t bits(float value) {
    if (value != value) return 0x7fff;
    const uint32_t bits = same_bits<uint32_t>(value);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

struct HalfFormat {
  static float value(uint16_t bits) { return float(same_bits<_Float16>(bits)); }
  static uint16_t bits(float value) { return same_bits<uint16_t>(_Float16(value)); }
};

// `__x` is the name CUDA's headers give the bits, and that sources use.
template <class Format> struct Float16 {
  uint16_t __x;
  Float16() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> Float16(T value) : __x(Format::bits(float(value))) {}
  operator float() const { return Format::value(__x); }
  static Float16 from_bits(uint16_t bits) {
    Float16 value;
    value.__x = bits;
    return value;
  }
  Float16& operator+=(Float16 other) { return *this = *this + other; }
  Float16& operator-=(Float16 other) { return *this = *this - other; }
  Float16& operator*=(Float16 other) { return *this = *this * other; }
  Float16& operator/=(Float16 other) { return *this = *this / other; }

  // Between two of a kind; with any other number the f32 operators of C++ hold.
  friend Float16 operator+(Float16 a, Float16 b) { return Float16(float(a) + float(b)); }
  friend Float16 operator-(Float16 a, Float16 b) { return Float16(float(a) - float(b)); }
  friend Float16 operator*(Float16 a, Float16 b) { return Float16(float(a) * float(b)); }
  friend Float16 operator/(Float16 a, Float16 b) { return Float16(float(a) / float(b)); }
  friend Float16 operator-(Float16 a) { return Float16(-float(a)); }
  friend bool operator<(Float16 a, Float16 b) { return float(a) < float(b); }
  friend bool operator>(Float16 a, Float16 b) { return float(a) > float(b); }
  friend bool operator<=(Float16 a, Float16 b) { return float(a) <= float(b); }
  friend bool operator>=(Float16 a, Float16 b) { return float(a) >= float(b); }
  friend bool operator==(Float16 a, Float16 b) { return float(a) == float(b); }
  friend bool operator!=(Float16 a, Float16 b) { return float(a) != float(b); }
};

template <class Format> struct alignas(4) Float16Pair {
  Float16<Format> x, y;
};

}  // namespace simt

using __half = simt::Float16<simt::HalfFormat>;
using __half2 = simt::Float16Pair<simt::HalfFormat>;
using half = __half;
using half2 = __half2;
using __nv_bfloat16 = simt::Float16<simt::BFloat16Format>;
using __nv_bfloat162 = simt::Float16Pair<simt::BFloat16Format>;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

#define EMULATED_FLOAT16_FUNCTIONS(T, T2)                                                                        \
  inline bool __hisnan(T a) { return isnan(float(a)); }                                                          \
  inline T __habs(T a) { return T(std::fabs(float(a))); }                                                        \
  inline T __hneg(T a) { return -a; }                                                                            \
  inline T __hadd(T a, T b) { return a + b; }                                                                    \
  inline T __hsub(T a, T b) { return a - b; }                                                                    \
  inline T __hmul(T a, T b) { return a * b; }                                                                    \
  inline T __hfma(T a, T b, T c) { return T(std::fma(float(a), float(b), float(c))); }                           \
  inline T __hmax(T a, T b) { return T(std::fmax(float(a), float(b))); }                                         \
  inline T __hmin(T a, T b) { return T(std::fmin(float(a), float(b))); }                                         \
  inline T __hmax_nan(T a, T b) { return __hisnan(a) ? a : __hisnan(b) ? b : a > b ? a : b; }                    \
  inline T __hmin_nan(T a, T b) { return __hisnan(a) ? a : __hisnan(b) ? b : a < b ? a : b; }                    \
  inline T hsqrt(T a) { return T(std::sqrt(float(a))); }                                                         \
  inline T hexp(T a) { return T(std::exp(float(a))); }                                                           \
  inline T hlog(T a) { return T(std::log(float(a))); }                                                           \
  inline T hcos(T a) { return T(std::cos(float(a))); }                                                           \
  inline T hsin(T a) { return T(std::sin(float(a))); }                                                           \
  inline T2 __hadd2(T2 a, T2 b) { return {a.x + b.x, a.y + b.y}; }                                               \
  inline T2 __hsub2(T2 a, T2 b) { return {a.x - b.x, a.y - b.y}; }                                               \
  inline T2 __hmul2(T2 a, T2 b) { return {a.x * b.x, a.y * b.y}; }                                               \
  inline T2 __hfma2(T2 a, T2 b, T2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }                 \
  inline float __low2float(T2 a) { return a.x; }                                                                 \
  inline float __high2float(T2 a) { return a.y; }
EMULATED_FLOAT16_FUNCTIONS(__half, __half2)
EMULATED_FLOAT16_FUNCTIONS(__nv_bfloat16, __nv_bfloat162)

inline float __bfloat162float(__nv_bfloat16 a) { return a; }
inline __nv_bfloat16 __float2bfloat16(float a) { return a; }
inline __nv_bfloat16 __float2bfloat16_rn(float a) { return a; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) { return a.__x; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16::from_bits(bits); }
inline float2 __bfloat1622float2(__nv_bfloat162 a) { return {a.x, a.y}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 a) { return {a.x, a.y}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 a) { return {a, a}; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 a) { return a.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 a) { return a.y; }

inline float __half2float(__half a) { return a; }
inline __half __float2half(float a) { return a; }
inline __half __float2half_rn(float a) { return a; }
inline unsigned short __half_as_ushort(__half a) { return a.__x; }
inline __half __ushort_as_half(unsigned short bits) { return __half::from_bits(bits); }
inline float2 __half22float2(__half2 a) { return {a.x, a.y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half __low2half(__half2 a) { return a.x; }
inline __half __high2half(__half2 a) { return a.y; }
