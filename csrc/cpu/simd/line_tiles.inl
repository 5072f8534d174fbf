#pragma once

// Tiles of the tokens of a head, whose left side keeps the order of its rows in memory: packing costs no transposition,
// which for a few right rows would take as long as the products. Include inside an anonymous namespace.
#include "cpu/simd/tile.inl"

// FloatTiles whose left rows stay in lines of 16 columns, [panel][line][row][16]. The same products to the bit.
template <class T>
struct LineTiles : FloatTiles<T> {
  static constexpr int step = 16;

  template <bool is_right>
  static void pack(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                   void* out) {
    if (is_right) return FloatTiles<T>::template pack<true>(rows, count, scale, centre, d, out);
    auto* panel = static_cast<float*>(out);
    const std::int64_t size = (d + step - 1) / step * kLeft * step;
    for (std::int64_t first = 0; first < count; first += kLeft, panel += size) {
      for (int i = 0; i < kLeft; ++i) {
        const std::int64_t r = first + i;
        float* line = panel + i * step;
        for (std::int64_t k = 0; k < d; k += step, line += kLeft * step) {
          for (int j = 0; j < step; j += kLanes) {
            const bool present = r < count && k + j < d;
            store(line + j, present ? placed(static_cast<const T*>(rows[r]), scale[r], centre, k + j, d) : Vector{});
          }
        }
      }
    }
  }

  // The products with the first `vectors` vectors of right rows. As many bytes as the left rows have are fetched from
  // `ahead` meanwhile.
  template <int vectors>
  static void multiply_some(const void* left_panel, const void* right_panel, std::int64_t d, float* dots,
                            const char* ahead) {
    auto* line = static_cast<const float*>(left_panel);
    auto* b = static_cast<const float*>(right_panel);
    for (std::int64_t start = 0; start == 0 || start < d; start += kChain) {
      const std::int64_t stop = start + kChain < d ? start + kChain : d;
      Vector part[kLeft][vectors] = {};
      for (std::int64_t k = start; k < stop; k += step, line += kLeft * step) {
        const float* end = line + (stop - k < step ? stop - k : step);
        for (const float* a = line; a < end; ++a, b += kRight, ahead += kLeft * sizeof(T)) {
          __builtin_prefetch(ahead, 0, 2);
          Vector right_rows[vectors];
          for (int v = 0; v < vectors; ++v) right_rows[v] = load(b + v * kLanes);
#pragma GCC unroll 14
          for (int i = 0; i < kLeft; ++i) {
            const Vector left_row = splat(a[i * step]);
            for (int v = 0; v < vectors; ++v) part[i][v] = left_row * right_rows[v] + part[i][v];
          }
        }
      }
#pragma GCC unroll 14
      for (int i = 0; i < kLeft; ++i) {
        for (int v = 0; v < vectors; ++v) {
          float* out = dots + i * kRight + v * kLanes;
          store(out, start ? load(out) + part[i][v] : part[i][v]);
        }
      }
    }
  }
};

#if defined(__AVX512BF16__)
// Copies rows of bfloat16 as they stand, neither scaled nor centred, in lines of 32 columns: [panel][line][width][32].
// Row by row, as memory serves them fastest.
template <int width>
inline void copy_lines(const void* const* rows, std::int64_t count, std::int64_t d, void* out) {
  constexpr std::int64_t kColumns = 32, kLine = 64, kStep = width * kLine;
  const std::int64_t lines = (d + kColumns - 1) / kColumns, full = d / kColumns;
  auto* panel = static_cast<char*>(out);
  for (std::int64_t first = 0; first < count; first += width, panel += lines * kStep) {
    for (std::int64_t i = 0; i < width; ++i) {
      char* line = panel + i * kLine;
      if (first + i >= count) {
        for (std::int64_t k = 0; k < lines; ++k) __builtin_memset(line + k * kStep, 0, kLine);
        continue;
      }
      const auto* row = static_cast<const BFloat*>(rows[first + i]);
      for (std::int64_t k = 0; k < full; ++k) {
        _mm512_storeu_si512(line + k * kStep, _mm512_loadu_si512(row + k * kColumns));
      }
      if (full == lines) continue;
      __builtin_memset(line + full * kStep, 0, kLine);
      __builtin_memcpy(line + full * kStep, row + full * kColumns,
                       static_cast<std::size_t>(d - full * kColumns) * sizeof(BFloat));
    }
  }
}
#endif

#if defined(__AMX_BF16__)
// MatrixTiles of one part whose left rows are copied.
struct CopiedTiles : MatrixTiles<BFloat, 1> {
  template <bool is_right>
  static void pack(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                   void* out) {
    if (is_right) return MatrixTiles<BFloat, 1>::pack<true>(rows, count, scale, centre, d, out);
    copy_lines<left>(rows, count, d, out);
  }
};
#elif defined(__AVX512BF16__)
// PairTiles whose left rows are copied. The same products to the bit.
struct LinePairTiles : PairTiles<BFloat> {
  static constexpr int step = 32;

  template <bool is_right>
  static void pack(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                   void* out) {
    if (is_right) return PairTiles<BFloat>::pack<true>(rows, count, scale, centre, d, out);
    copy_lines<left>(rows, count, d, out);
  }

  // The products with the first `vectors` vectors of right rows. As many bytes as the left rows have are fetched from
  // `ahead` meanwhile.
  template <int vectors>
  static void multiply_some(const void* left_panel, const void* right_panel, std::int64_t d, float* dots,
                            const char* ahead) {
    constexpr std::int64_t kPairs = step / 2;  // of a line
    auto* line = static_cast<const float*>(left_panel);
    auto* b = static_cast<const float*>(right_panel);
    const std::int64_t pairs = (d + 1) / 2;
    for (std::int64_t start = 0; start == 0 || start < pairs; start += kChain) {
      const std::int64_t stop = start + kChain < pairs ? start + kChain : pairs;
      __m512 part[kLeft][vectors] = {};
      for (std::int64_t k = start; k < stop; k += kPairs, line += kLeft * kPairs) {
        const float* end = line + (stop - k < kPairs ? stop - k : kPairs);
        for (const float* a = line; a < end; ++a, b += kRight, ahead += kLeft * 4) {
          __builtin_prefetch(ahead, 0, 2);
          __m512bh right_rows[vectors];
          for (int v = 0; v < vectors; ++v) right_rows[v] = as_pairs(load(b + v * kLanes));
#pragma GCC unroll 14
          for (int i = 0; i < kLeft; ++i) {
            std::int32_t pair;
            __builtin_memcpy(&pair, a + i * kPairs, sizeof pair);
            const auto left_row = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
            for (int v = 0; v < vectors; ++v) part[i][v] = _mm512_dpbf16_ps(part[i][v], left_row, right_rows[v]);
          }
        }
      }
#pragma GCC unroll 14
      for (int i = 0; i < kLeft; ++i) {
        for (int v = 0; v < vectors; ++v) {
          float* out = dots + i * kRight + v * kLanes;
          store(out, start ? load(out) + part[i][v] : part[i][v]);
        }
      }
    }
  }
};
#endif
