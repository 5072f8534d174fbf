#pragma once

// What the instruction set can do at most, for benchmarks: multiply-adds that stay in registers, and a plain read of
// memory. Include inside an anonymous namespace.
#include "cpu/simd/vector.inl"

constexpr int kChains =
    kLanes == 16 ? 24 : 12;  // running results: enough to hide the latency, and they fit in registers

// Starts from values that the compiler cannot know, so that nothing is computed before the loop.
template <class Lanes>
inline void hide(Lanes* values, int count) {
  for (int i = 0; i < count; ++i) __asm__ volatile("" : "+m"(values[i]));
}

// `rounds` rounds of multiply-adds of fp32. Returns their number of operations, an addition and a product each.
double spin_float(std::int64_t rounds) {
  Vector total[kChains] = {}, factors[2] = {};
  hide(total, kChains);
  hide(factors, 2);
  const Vector a = factors[0], b = factors[1];
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) total[i] = total[i] * a + b;
  }
  hide(total, kChains);
  return 2.0 * kChains * kLanes * static_cast<double>(rounds);
}

// The same of bfloat16 into fp32, by the instruction made for it where there is one, else of fp32.
#if defined(__AMX_BF16__)
double spin_bfloat(std::int64_t rounds) {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  __asm__ volatile("" : : "m"(configuration));  // GCC 12 takes _tile_loadconfig to read its first eight bytes alone
  _tile_loadconfig(&configuration);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (std::int64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
  return 2.0 * 4 * 16 * 16 * 32 * static_cast<double>(rounds);
}
#elif defined(__AVX512BF16__)
double spin_bfloat(std::int64_t rounds) {
  Vector total[kChains] = {}, factors[2] = {};
  hide(total, kChains);
  hide(factors, 2);
  const auto a = reinterpret_cast<__m512bh>(factors[0]), b = reinterpret_cast<__m512bh>(factors[1]);
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) {
      total[i] = reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(total[i]), a, b));
    }
  }
  hide(total, kChains);
  return 4.0 * kChains * kLanes * static_cast<double>(rounds);
}
#else
double spin_bfloat(std::int64_t rounds) { return spin_float(rounds); }
#endif

// Reads all of the data once, and does little else. The result means nothing; it must be used.
std::uint32_t read_through(const void* data, std::int64_t bytes) {
  constexpr std::int64_t kStep = 4 * static_cast<std::int64_t>(sizeof(Words));
  const auto* at = static_cast<const char*>(data);
  Words mixed[4] = {};
  for (std::int64_t i = 0; i + kStep <= bytes; i += kStep) {
    for (int part = 0; part < 4; ++part) {
      Words words;
      __builtin_memcpy(&words, at + i + part * static_cast<std::int64_t>(sizeof words), sizeof words);
      mixed[part] ^= words;
    }
  }
  const Words all = (mixed[0] ^ mixed[1]) ^ (mixed[2] ^ mixed[3]);
  std::uint32_t result = 0;
  for (int lane = 0; lane < kLanes; ++lane) result ^= all[lane];
  return result;
}
