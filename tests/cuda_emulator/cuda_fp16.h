// The fp16 type of CUDA, for g++. Conversions follow IEEE 754, rounding to nearest even.
#pragma once

#include <cmath>

#include "cuda_runtime.h"

struct __half {
  unsigned short bits;
};

inline float __half2float(__half x) {
  const int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  const float sign = x.bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
}

inline __half __float2half_rn(float x) {
  const unsigned sign = __float_as_uint(x) >> 16 & 0x8000u;
  const float size = std::fabs(x);
  if (std::isnan(x)) return {0x7fff};
  if (size == 0.0f) return {static_cast<unsigned short>(sign)};
  if (size >= 65520.0f) return {static_cast<unsigned short>(sign | 0x7c00u)};
  int exponent;
  std::frexp(size, &exponent);
  const int last = std::max(exponent - 11, -24);  // the exponent of the last place
  const auto places = static_cast<unsigned>(std::lrint(std::ldexp(size, -last)));
  // A carry out of the fraction runs into the exponent, as it should.
  return {static_cast<unsigned short>(sign | (places + (static_cast<unsigned>(last + 24) << 10)))};
}
