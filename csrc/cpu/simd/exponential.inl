#pragma once

// Exponential and hyperbolic tangent of vectors, by the polynomials of the Cephes library, to about 1e-7 of the value.
// NaN stays NaN. Include inside an anonymous namespace.
#include "cpu/simd/vector.inl"

// exp(x) for x <= 88; below -87.3, where it is no normal number, 0.
inline Vector exponential(Vector x) {
  constexpr float kLeast = -87.33654f, kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: sums with it have no fraction
  // Written so that NaN, of which every comparison is false, passes.
  const Vector clamped = x < splat(kLeast) ? splat(kLeast) : x;
  const Vector shifted = clamped * splat(kLog2E) + splat(kRound);
  const Vector whole = shifted - splat(kRound);
  const Vector r = clamped - whole * splat(kLn2High) - whole * splat(kLn2Low);
  Vector p = splat(1.9875691500e-4f);
  p = p * r + splat(1.3981999507e-3f);
  p = p * r + splat(8.3334519073e-3f);
  p = p * r + splat(4.1665795894e-2f);
  p = p * r + splat(1.6666665459e-1f);
  p = p * r + splat(5.0000001201e-1f);
  p = p * (r * r) + r + splat(1.0f);
  // The low bits of `shifted` are those of the whole number: 2 to its power.
  const Words power = (reinterpret_cast<Words>(shifted) << 23) + 0x3f800000u;
  const Vector result = p * reinterpret_cast<Vector>(power);
  return x < splat(kLeast) ? Vector{} : result;
}

inline Vector hyperbolic_tangent(Vector x) {
  constexpr float kMost = 10.0f;  // from where on it is 1
  const Words sign = reinterpret_cast<Words>(x) & 0x80000000u;
  const Vector size = reinterpret_cast<Vector>(reinterpret_cast<Words>(x) ^ sign);
  const Vector clamped = size > splat(kMost) ? splat(kMost) : size;
  const Vector far = splat(1.0f) - splat(2.0f) / (exponential(clamped + clamped) + splat(1.0f));
  const Vector square = clamped * clamped;
  Vector p = splat(-5.70498872745e-3f);
  p = p * square + splat(2.06390887954e-2f);
  p = p * square + splat(-5.37397155531e-2f);
  p = p * square + splat(1.33314422036e-1f);
  p = p * square + splat(-3.33332819422e-1f);
  const Vector near = p * square * clamped + clamped;  // where `far` would cancel
  const Vector result = clamped < splat(0.625f) ? near : far;
  return reinterpret_cast<Vector>(reinterpret_cast<Words>(result) | sign);
}
