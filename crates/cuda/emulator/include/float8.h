// The 8-bit float e4m3 (4 bits of exponent, 3 of mantissa, no infinity), which candle's kernels convert to and from.
#pragma once
#include "float16.h"

namespace simt {

inline float e4m3_value(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  float value;
  if (exponent == 15 && mantissa == 7) value = NAN;
  else if (exponent == 0) value = std::ldexp(float(mantissa), -9);
  else value = std::ldexp(float(8 + mantissa), exponent - 10);
  return bits & 0x80 ? -value : value;
}

// To nearest even; what is too large becomes the largest number, 448.
inline uint8_t e4m3_bits(float value) {
  const uint8_t sign = signbit(value) ? 0x80 : 0;
  if (value != value) return sign | 0x7f;
  const float magnitude = std::fabs(value);
  if (magnitude >= 448.0f) return sign | 0x7e;
  int exponent;
  std::frexp(magnitude, &exponent);
  int step = std::max(exponent - 4, -9);  // the distance of neighbours is 2^step
  int steps = int(std::nearbyint(std::ldexp(magnitude, -step)));
  if (steps == 16) {
    steps = 8;
    ++step;
  }
  const bool subnormal = step == -9 && steps < 8;
  return sign | uint8_t(subnormal ? steps : (step + 10) << 3 | (steps & 7));
}

}  // namespace simt

enum __nv_fp8_interpretation_t { __NV_E4M3 };

struct __nv_fp8_e4m3 {
  uint8_t __x;
  __nv_fp8_e4m3() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  explicit __nv_fp8_e4m3(T value) : __x(simt::e4m3_bits(float(value))) {}
  template <class F> explicit __nv_fp8_e4m3(simt::Float16<F> value) : __x(simt::e4m3_bits(value)) {}
  operator float() const { return simt::e4m3_value(__x); }
};

// Exact: f16 holds every e4m3.
inline __half __nv_cvt_fp8_to_halfraw(uint8_t bits, __nv_fp8_interpretation_t) { return __half(simt::e4m3_value(bits)); }
