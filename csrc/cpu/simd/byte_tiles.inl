#pragma once

// Products of rows rounded to bytes, for a first look: an instruction multiplies four times as many as of fp32. A row
// has a scale of its own, so that its largest element is 127. Include inside an anonymous namespace.
#include "cpu/simd/tile.inl"

#if defined(__AVX512F__)
// What a byte of the row stands for. Rows too short for their scale's reciprocal have none: all is taken off.
template <class T>
inline float byte_scale(const void* row, float scale, const float* centre, std::int64_t d) {
  Vector most{};
  for (std::int64_t k = 0; k < d; k += kLanes) {
    const Vector x = placed(static_cast<const T*>(row), scale, centre, k, d);
    most = _mm512_max_ps(most, _mm512_abs_ps(x));
  }
  const float largest = _mm512_reduce_max_ps(most);
  return largest < 1e-30f ? 0.0f : largest / 127.0f;
}

inline float reciprocal(float scale) { return scale > 0.0f ? 1.0f / scale : 0.0f; }

// Columns [k, k + 64) of row * scale - centre.
template <class T>
inline Vector as_bytes(const void* row, float scale, const float* centre, std::int64_t k, std::int64_t d,
                       float per_unit) {
  __m128i part[4] = {};
  for (int q = 0; q < 4 && k < d; ++q, k += kLanes) {
    const Vector x = placed(static_cast<const T*>(row), scale, centre, k, d) * splat(per_unit);
    part[q] = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x));
  }
  Vector bytes;
  __builtin_memcpy(&bytes, part, sizeof bytes);
  return bytes;
}

template <class T>
void rounded_off_bytes(const void* const* rows, std::int64_t count, const float* scale, const float* centre,
                       std::int64_t d, double* squared) {
  for (std::int64_t r = 0; r < count; ++r) {
    const float unit = byte_scale<T>(rows[r], scale[r], centre, d);
    const Vector per_unit = splat(reciprocal(unit));
    Vector total{};
    for (std::int64_t k = 0; k < d; k += kLanes) {
      const Vector x = placed(static_cast<const T*>(rows[r]), scale[r], centre, k, d);
      const Vector kept = _mm512_cvtepi32_ps(_mm512_cvtps_epi32(x * per_unit));
      const Vector rest = _mm512_fnmadd_ps(kept, splat(unit), x);
      total += rest * rest;
    }
    squared[r] = static_cast<double>(sum(total));
  }
}

// Panels of the rows' scales, of what their sums start from (right rows without AMX; else unused), then of bytes.
template <class T>
struct ByteTiles {
  static constexpr int step = 64, element_bytes = 1, row_extra = 8;
#if defined(__AMX_INT8__)
  static constexpr int left = 32, right = 32;
#else
  static constexpr int left = kLeft, right = kRight;
#endif

  template <bool is_right>
  static void pack(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                   void* out) {
    constexpr int width = is_right ? right : left;
    const std::int64_t steps = (d + step - (d > 0)) / step;
    auto* panel = static_cast<float*>(out);
    for (std::int64_t first = 0; first < count; first += width, panel += width * (2 + steps * kLanes)) {
      float per_unit[width] = {};
      for (int r = 0; r < width; ++r) {
        panel[r] = first + r < count ? byte_scale<T>(rows[first + r], scale[first + r], centre, d) : 0.0f;
        per_unit[r] = reciprocal(panel[r]);
      }
      const auto words = [&](std::int64_t r, std::int64_t k) {
        if (first + r >= count) return Vector{};
        return as_bytes<T>(rows[first + r], scale[first + r], centre, 4 * k, d, per_unit[r]);
      };
      place<is_right>(steps, words, panel + width, panel + 2 * width);
    }
  }

#if defined(__AMX_INT8__)
  // Tiles as those of bfloat16, of 64 columns.
  template <bool is_right, class WordsOf>
  static void place(std::int64_t steps, const WordsOf& words, float*, float* tile) {
    for (std::int64_t k = 0; k < steps * kLanes; k += kLanes) {
      for (int half = 0; half < 2; ++half, tile += kTile) {
        const auto of_half = [&](std::int64_t r, std::int64_t) { return words(half * kLanes + r, k); };
        if (is_right) {
          pack_words<kLanes>(kLanes, of_half, tile);
        } else {
          for (int r = 0; r < kLanes; ++r) store(tile + r * kLanes, of_half(r, 0));
        }
      }
    }
  }

  static void multiply(const void* left_panel, const void* right_panel, std::int64_t d, float* dots, Ahead) {
    auto* left_scale = static_cast<const float*>(left_panel);
    auto* right_scale = static_cast<const float*>(right_panel);
    const float *a = left_scale + 2 * left, *b = right_scale + 2 * right;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::int64_t k = 0; k < d; k += step, a += 2 * kTile, b += 2 * kTile) {
      load_left_part(a);
      _tile_loadd(6, b, 64);
      _tile_loadd(7, b + kTile, 64);
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 4, 7);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
    constexpr int kRow = right * 4;
    _tile_stored(0, dots, kRow);
    _tile_stored(1, dots + kLanes, kRow);
    _tile_stored(2, dots + kLanes * right, kRow);
    _tile_stored(3, dots + kLanes * right + kLanes, kRow);
    for (int i = 0; i < left; ++i) {
      for (int j = 0; j < right; j += kLanes) {
        float* out = dots + i * right + j;
        store(out, _mm512_cvtepi32_ps(_mm512_loadu_si512(out)) * (splat(left_scale[i]) * load(right_scale + j)));
      }
    }
  }

  static void begin() { _tile_loadconfig(&kConfiguration); }
  static void end() { _tile_release(); }
#else
  // The instruction multiplies bytes without a sign by bytes with one: left bytes are stored 128 higher, and right rows
  // bring what that adds to their products, so that these start from it.
  template <bool is_right, class WordsOf>
  static void place(std::int64_t steps, const WordsOf& words, float* starts, float* panel) {
    const __m512i high = _mm512_set1_epi8(-128);
    if constexpr (is_right) {
      std::int32_t start[right] = {};
      const auto summed = [&](std::int64_t r, std::int64_t k) {
        const Vector bytes = words(r, k);
        const __m512i lifted = _mm512_xor_si512(reinterpret_cast<__m512i>(bytes), high);
        const auto sum = _mm512_reduce_add_epi64(_mm512_sad_epu8(lifted, _mm512_setzero_si512()));
        start[r] -= 128 * (static_cast<std::int32_t>(sum) - 64 * 128);
        return bytes;
      };
      pack_words<right>(steps * kLanes, summed, panel);
      __builtin_memcpy(starts, start, sizeof start);
    } else {
      const auto lifted = [&](std::int64_t r, std::int64_t k) {
        return reinterpret_cast<Vector>(_mm512_xor_si512(reinterpret_cast<__m512i>(words(r, k)), high));
      };
      pack_words<left>(steps * kLanes, lifted, panel);
    }
  }

  // Not __m512i, of which GCC 12 keeps an array in memory.
  static Ints ints(const float* p) { return reinterpret_cast<Ints>(load(p)); }

  __attribute__((target("avx512vnni"))) static void multiply(const void* left_panel, const void* right_panel,
                                                             std::int64_t d, float* dots, Ahead) {
    auto* left_scale = static_cast<const float*>(left_panel);
    auto* right_scale = static_cast<const float*>(right_panel);
    const float *a = left_scale + 2 * left, *b = right_scale + 2 * right;
    Ints part[left][kRightVectors];
#pragma GCC unroll 14
    for (int i = 0; i < left; ++i) {
      for (int v = 0; v < kRightVectors; ++v) part[i][v] = ints(right_scale + right + v * kLanes);
    }
    const std::int64_t words = (d + step - 1) / step * kLanes;
    for (std::int64_t k = 0; k < words; ++k, a += left, b += right) {
      Ints right_rows[kRightVectors];
      for (int v = 0; v < kRightVectors; ++v) right_rows[v] = ints(b + v * kLanes);
#pragma GCC unroll 14
      for (int i = 0; i < left; ++i) {
        std::int32_t word;
        __builtin_memcpy(&word, a + i, sizeof word);
        const Ints left_row = word - Ints{};
        for (int v = 0; v < kRightVectors; ++v) {
          part[i][v] = reinterpret_cast<Ints>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(part[i][v]),
                                                                  reinterpret_cast<__m512i>(left_row),
                                                                  reinterpret_cast<__m512i>(right_rows[v])));
        }
      }
    }
#pragma GCC unroll 14
    for (int i = 0; i < left; ++i) {
      for (int v = 0; v < kRightVectors; ++v) {
        const Vector products = _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(part[i][v]));
        store(dots + i * right + v * kLanes, products * (splat(left_scale[i]) * load(right_scale + v * kLanes)));
      }
    }
  }

  static void begin() {}
  static void end() {}
#endif
};
#endif
