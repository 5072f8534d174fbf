#pragma once

// Products of tiles of rows: `left` rows by `right` rows, over all columns, from packed panels. Include inside an
// anonymous namespace.
#include "cpu/simd/vector.inl"

// A tile's dot products fill the registers that the running sums may use: more spill, fewer wait for each other.
#if defined(__AVX512F__)
constexpr int kLeft = 14, kRightVectors = 2;
#elif defined(__AVX2__)
constexpr int kLeft = 6, kRightVectors = 2;
#elif defined(__aarch64__)
constexpr int kLeft = 8, kRightVectors = 2;
#else
constexpr int kLeft = 4, kRightVectors = 2;
#endif
constexpr int kRight = kRightVectors * kLanes;
constexpr std::int64_t kChain = 512;  // products summed in fp32 before they join the total

// Interleaves the lower (or upper) halves of two vectors.
inline Vector interleave(Vector a, Vector b, bool upper) {
  Words mask{};
  for (int i = 0; i < kLanes; ++i) {
    const int lane = (upper ? kLanes / 2 : 0) + i / 2;
    mask[i] = static_cast<std::uint32_t>(i % 2 ? lane + kLanes : lane);
  }
  return __builtin_shuffle(a, b, mask);
}

// Transposes kLanes vectors: each round is a perfect shuffle of all elements, and log2(kLanes) of them transpose.
inline void transpose(Vector (&block)[kLanes]) {
  Vector other[kLanes];
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      other[2 * i] = interleave(block[i], block[i + kLanes / 2], false);
      other[2 * i + 1] = interleave(block[i], block[i + kLanes / 2], true);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) block[i] = other[i];
  }
}

// Columns [k, k + kLanes) of row * scale - centre; columns from d on are 0.
template <class T>
inline Vector placed(const T* row, float scale, const float* centre, std::int64_t k, std::int64_t d) {
  if (k + kLanes <= d) return load(row + k) * splat(scale) - load(centre + k);
  float rest[kLanes] = {};
  for (std::int64_t j = k; j < d; ++j) rest[j - k] = load1(row + j) * scale - centre[j];
  return load(rest);
}

// Rows of floats: panels [panel][d][width].
template <class T>
struct FloatTiles {
  static constexpr int left = kLeft, right = kRight, step = 1, element_bytes = 4, row_extra = 0;

  template <bool is_right>
  static void pack(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                   void* out) {
    constexpr int width = is_right ? right : left;
    // A store of kLanes floats may run over into the next column, whose own store comes later.
    static_assert(width <= kLanes || width % kLanes == 0);
    auto* panel = static_cast<float*>(out);
    for (std::int64_t first = 0; first < count; first += width, panel += width * d) {
      for (int group = 0; group < width; group += kLanes) {
        for (std::int64_t k = 0; k < d; k += kLanes) {
          Vector block[kLanes];
          for (int i = 0; i < kLanes; ++i) {
            const std::int64_t r = first + group + i;
            const bool present = group + i < width && r < count;
            block[i] = present ? placed(static_cast<const T*>(rows[r]), scale[r], centre, k, d) : Vector{};
          }
          transpose(block);
          const std::int64_t stop = k + kLanes < d ? kLanes : d - k;
          for (std::int64_t q = 0; q < stop; ++q) store(panel + (k + q) * width + group, block[q]);
        }
      }
    }
  }

  static void multiply(const void* left_panel, const void* right_panel, std::int64_t d, float* dots, Ahead ahead) {
    auto* a = static_cast<const float*>(left_panel);
    auto* b = static_cast<const float*>(right_panel);
    for (std::int64_t start = 0; start == 0 || start < d; start += kChain) {
      const std::int64_t stop = start + kChain < d ? start + kChain : d;
      Vector part[kLeft][kRightVectors] = {};
      for (std::int64_t k = start; k < stop; ++k, a += kLeft, b += kRight, ahead.at += ahead.step) {
        __builtin_prefetch(ahead.at, 0, 2);
        Vector right_rows[kRightVectors];
        for (int v = 0; v < kRightVectors; ++v) right_rows[v] = load(b + v * kLanes);
#pragma GCC unroll 14
        for (int i = 0; i < kLeft; ++i) {
          const Vector left_row = splat(a[i]);
          for (int v = 0; v < kRightVectors; ++v) part[i][v] = left_row * right_rows[v] + part[i][v];
        }
      }
#pragma GCC unroll 14
      for (int i = 0; i < kLeft; ++i) {
        for (int v = 0; v < kRightVectors; ++v) {
          float* out = dots + i * kRight + v * kLanes;
          store(out, start ? load(out) + part[i][v] : part[i][v]);
        }
      }
    }
  }

  static void begin() {}
  static void end() {}
};

#if defined(__AVX512F__)
// A panel [word][width] of rows of so many words of 32 bits: `words(r, k)` gives words [k, k + kLanes) of row r.
// A store of kLanes words may run over into the next word's place, or behind the panel: what stands there is written
// later.
template <int width, class WordsOf>
inline void pack_words(std::int64_t count, const WordsOf& words, float* panel) {
  static_assert(width <= kLanes || width % kLanes == 0);
  for (int group = 0; group < width; group += kLanes) {
    for (std::int64_t k = 0; k < count; k += kLanes) {
      Vector block[kLanes];
      for (int i = 0; i < kLanes; ++i) block[i] = group + i < width ? words(group + i, k) : Vector{};
      transpose(block);
      const std::int64_t stop = k + kLanes < count ? kLanes : count - k;
      for (std::int64_t q = 0; q < stop; ++q) store(panel + (k + q) * width + group, block[q]);
    }
  }
}
#endif

#if defined(__AVX512BF16__)
inline __m512bh as_pairs(Vector v) { return reinterpret_cast<__m512bh>(v); }

// Columns [k, k + 32) of row * scale - centre, as the sum of `parts` bfloat16 each: what one leaves goes to the next.
template <int parts, class T>
inline void split(const T* row, float scale, const float* centre, std::int64_t k, std::int64_t d, Vector* out) {
  Vector low = placed(row, scale, centre, k, d);
  Vector high = k + kLanes < d ? placed(row, scale, centre, k + kLanes, d) : Vector{};
  for (int part = 0; part < parts; ++part) {
    const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
    out[part] = reinterpret_cast<Vector>(halves);
    if (part + 1 == parts) break;
    low -= load(reinterpret_cast<const BFloat*>(&halves));
    high -= load(reinterpret_cast<const BFloat*>(&halves) + kLanes);
  }
}

// What is taken off is exact in fp32.
template <class T>
void rounded_off(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                 double* squared) {
  for (std::int64_t r = 0; r < count; ++r) {
    const T* row = static_cast<const T*>(rows[r]);
    Vector total{};
    for (std::int64_t k = 0; k < d; k += 2 * kLanes) {
      Vector kept;
      split<1>(row, scale[r], centre, k, d, &kept);
      const auto* halves = reinterpret_cast<const BFloat*>(&kept);
      const Vector low = placed(row, scale[r], centre, k, d) - load(halves);
      total += low * low;
      if (k + kLanes >= d) break;
      const Vector high = placed(row, scale[r], centre, k + kLanes, d) - load(halves + kLanes);
      total += high * high;
    }
    squared[r] = static_cast<double>(sum(total));
  }
}
#endif

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
// Rows rounded to bfloat16: panels [panel][d / 2][width] of pairs of columns.
template <class T>
struct PairTiles {
  static constexpr int left = kLeft, right = kRight, step = 2, element_bytes = 2, row_extra = 0;

  template <bool is_right>
  static void pack(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                   void* out) {
    constexpr int width = is_right ? right : left;
    const std::int64_t pairs = (d + 1) / 2;
    auto* panel = static_cast<float*>(out);
    for (std::int64_t first = 0; first < count; first += width, panel += width * pairs) {
      const auto words = [&](std::int64_t r, std::int64_t k) {
        Vector halves{};
        if (first + r < count) {
          split<1>(static_cast<const T*>(rows[first + r]), scale[first + r], centre, 2 * k, d, &halves);
        }
        return halves;
      };
      pack_words<width>(pairs, words, panel);
    }
  }

  static void multiply(const void* left_panel, const void* right_panel, std::int64_t d, float* dots, Ahead) {
    auto* a = static_cast<const float*>(left_panel);
    auto* b = static_cast<const float*>(right_panel);
    const std::int64_t pairs = (d + 1) / 2;
    for (std::int64_t start = 0; start == 0 || start < pairs; start += kChain) {
      const std::int64_t stop = start + kChain < pairs ? start + kChain : pairs;
      __m512 part[kLeft][kRightVectors] = {};
      for (std::int64_t k = start; k < stop; ++k, a += kLeft, b += kRight) {
        __m512bh right_rows[kRightVectors];
        for (int v = 0; v < kRightVectors; ++v) right_rows[v] = as_pairs(load(b + v * kLanes));
#pragma GCC unroll 14
        for (int i = 0; i < kLeft; ++i) {
          std::int32_t pair;
          __builtin_memcpy(&pair, a + i, sizeof pair);
          const auto left_row = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
          for (int v = 0; v < kRightVectors; ++v) part[i][v] = _mm512_dpbf16_ps(part[i][v], left_row, right_rows[v]);
        }
      }
#pragma GCC unroll 14
      for (int i = 0; i < kLeft; ++i) {
        for (int v = 0; v < kRightVectors; ++v) {
          float* out = dots + i * kRight + v * kLanes;
          store(out, start ? load(out) + part[i][v] : part[i][v]);
        }
      }
    }
  }

  static void begin() {}
  static void end() {}
};
#endif

#if defined(__AMX_BF16__)
// All eight tiles are 16 rows of 64 bytes. Static: GCC 12 believes that only the first 8 bytes are read.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1, start = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfiguration kConfiguration;

constexpr int kTile = 256;  // words

// 32 columns of a part of 32 left rows, in tiles 4 and 5.
inline void load_left_part(const float* part) {
  _tile_loadd(4, part, 64);
  _tile_loadd(5, part + kTile, 64);
}

// Adds to tiles 0 to 3 their products with a part of 32 right rows.
inline void add_right_part(const float* part) {
  _tile_loadd(6, part, 64);
  _tile_loadd(7, part + kTile, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Products of panels of MatrixTiles of so many parts each: all pairs of parts p and q with p + q < kept. Those of the
// first parts, which are large, can come last: the sums that all others are added to are then small, and so is their
// rounding. That loads more tiles, which costs a seventh of the time for two parts each.
template <int left_parts, int right_parts, int kept, bool large_last>
void multiply_parts(const void* left_panel, const void* right_panel, std::int64_t d, float* dots) {
  constexpr int kStep = 32, kLeftStep = 2 * left_parts * kTile, kRightStep = 2 * right_parts * kTile;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (!large_last || left_parts * right_parts > 1) {
    auto* a = static_cast<const float*>(left_panel);
    auto* b = static_cast<const float*>(right_panel);
    for (std::int64_t k = 0; k < d; k += kStep, a += kLeftStep, b += kRightStep) {
      for (int p = large_last && right_parts == 1; p < left_parts; ++p) {
        load_left_part(a + 2 * p * kTile);
        for (int q = large_last && p == 0; q < right_parts && p + q < kept; ++q) add_right_part(b + 2 * q * kTile);
      }
    }
  }
  if (large_last) {
    auto* a = static_cast<const float*>(left_panel);
    auto* b = static_cast<const float*>(right_panel);
    for (std::int64_t k = 0; k < d; k += kStep, a += kLeftStep, b += kRightStep) {
      load_left_part(a);
      add_right_part(b);
    }
  }
  constexpr int kWidth = 32, kRow = kWidth * 4;
  _tile_stored(0, dots, kRow);
  _tile_stored(1, dots + 16, kRow);
  _tile_stored(2, dots + 16 * kWidth, kRow);
  _tile_stored(3, dots + 16 * kWidth + 16, kRow);
}

// Rows as sums of `parts` bfloat16, for the matrix unit: tiles of 16 rows x 32 columns (left) and of 16 pairs of
// columns x 16 rows (right), [panel][32 columns][part][half of the panel]. One part holds bfloat16 to its own
// precision, two hold float16, three float32; products of parts whose size falls below what is kept are left out.
template <class T, int parts>
struct MatrixTiles {
  static constexpr int left = 32, right = 32, step = 32, element_bytes = 2 * parts, row_extra = 0;

  template <bool is_right>
  static void pack(const void* const* rows, std::int64_t count, const float* scale, const float* centre, std::int64_t d,
                   void* out) {
    auto* panel = static_cast<float*>(out);
    const std::int64_t size = (d + step - 1) / step * 2 * parts * kTile;
    for (std::int64_t first = 0; first < count; first += left, panel += size) {
      const int present = static_cast<int>(count - first < left ? count - first : left);
      if (is_right) {
        pack_right(rows + first, present, scale + first, centre, d, panel);
      } else {
        pack_left(rows + first, present, scale + first, centre, d, panel);
      }
    }
  }

  // Row by row, as memory serves them fastest.
  static void pack_left(const void* const* rows, int present, const float* scale, const float* centre, std::int64_t d,
                        float* tile) {
    for (int r = 0; r < left; ++r) {
      float* line = tile + r * kLanes;
      for (std::int64_t k = 0; k < d; k += step) {
        Vector part[parts] = {};
        if (r < present) split<parts>(static_cast<const T*>(rows[r]), scale[r], centre, k, d, part);
        for (int p = 0; p < parts; ++p, line += 2 * kTile) store(line, part[p]);
      }
    }
  }

  static void pack_right(const void* const* rows, int present, const float* scale, const float* centre, std::int64_t d,
                         float* tile) {
    for (std::int64_t k = 0; k < d; k += step, tile += 2 * parts * kTile) {
      for (int half = 0; half < 2; ++half) {
        Vector block[parts][kLanes];
        for (int i = 0; i < kLanes; ++i) {
          const int r = half * kLanes + i;
          Vector part[parts] = {};
          if (r < present) split<parts>(static_cast<const T*>(rows[r]), scale[r], centre, k, d, part);
          for (int p = 0; p < parts; ++p) block[p][i] = part[p];
        }
        for (int p = 0; p < parts; ++p) {
          transpose(block[p]);
          for (int i = 0; i < kLanes; ++i) store(tile + (2 * p + half) * kTile + i * kLanes, block[p][i]);
        }
      }
    }
  }

  static void multiply(const void* left_panel, const void* right_panel, std::int64_t d, float* dots, Ahead) {
    multiply_parts<parts, parts, parts, false>(left_panel, right_panel, d, dots);
  }

  static void begin() { _tile_loadconfig(&kConfiguration); }

  static void end() { _tile_release(); }
};
#endif
