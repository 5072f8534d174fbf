#pragma once

// Cosines and lengths of rows, and sums of their directions in whole multiples of 2^-30. Include inside an anonymous
// namespace.
#include "cpu/simd/cosine_rows.inl"
#include "cpu/simd/row_sums.inl"

typedef std::int64_t Longs __attribute__((vector_size(4 * kLanes)));
typedef std::int64_t LooseLongs __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));

constexpr int kStripVectors = 4;  // columns whose sums stay in registers

// `length` is 0 for a row of zeros, and not finite for one that holds NaN or infinity.
template <class T>
double exact_length(const T* row, std::int64_t d) {
  double squared = 0.0;
  for (std::int64_t j = 0; j < d; ++j) {
    const double a = load1(row + j);
    squared += a * a;
  }
  return __builtin_sqrt(squared);
}

template <class T>
void measure_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions, float* out,
                  double* lengths) {
  for (std::int64_t r = begin; r < end; r += kRowsAtOnce) {
    const std::int64_t count = end - r < kRowsAtOnce ? end - r : kRowsAtOnce;
    float squared[kRowsAtOnce];
    float* to = out + (r - begin) * directions.count;
    cosine_tile<T>(rows, r, count, end, directions, to, squared);
    for (std::int64_t i = 0; i < count; ++i) {
      lengths[r - begin + i] = __builtin_sqrt(static_cast<double>(squared[i]));
      if (plain(squared[i])) continue;
      BadRows ignored;  // the lengths tell
      const T* row = static_cast<const T*>(rows.data) + (r + i) * rows.stride;
      cosine_exact(row, rows.d, r + i, directions, to + i * directions.count, &ignored);
      lengths[r - begin + i] = exact_length(row, rows.d);
    }
  }
}

// Rounds to whole numbers and widens.
inline void to_longs(Vector v, Longs* low, Longs* high) {
#if defined(__AVX512F__)
  const __m512i whole = _mm512_cvtps_epi32(v);
  *low = reinterpret_cast<Longs>(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(whole)));
  *high = reinterpret_cast<Longs>(_mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(whole, 1)));
#else
  // The last bit of 1.5 * 2^52 is worth 1, and the bits of the sum count from there.
  const Doubles one_and_a_half = 0x1.8p52 - Doubles{};
  Doubles part[2];
  widen(v, &part[0], &part[1]);
  *low = reinterpret_cast<Longs>(part[0] + one_and_a_half) - reinterpret_cast<Longs>(one_and_a_half);
  *high = reinterpret_cast<Longs>(part[1] + one_and_a_half) - reinterpret_cast<Longs>(one_and_a_half);
#endif
}

inline std::int64_t to_long(double value) { return static_cast<std::int64_t>(__builtin_rint(value)); }

// sum[j] += the rows, each times its scale, rounded to whole numbers; `vectors` of columns from column j on.
template <class T, int vectors>
inline void add_whole_strip(const void* const* rows, std::int64_t count, const float* scale, std::int64_t j,
                            std::int64_t* sum) {
  Longs total[vectors][2];
  __builtin_memcpy(total, sum + j, sizeof total);
  for (std::int64_t r = 0; r < count; ++r) {
    const T* row = static_cast<const T*>(rows[r]) + j;
    const Vector factor = splat(scale[r]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      Longs low, high;
      to_longs(load(row + v * kLanes) * factor, &low, &high);
      total[v][0] += low;
      total[v][1] += high;
    }
  }
  __builtin_memcpy(sum + j, total, sizeof total);
}

template <class T>
void add_whole(const void* const* rows, std::int64_t count, const float* scale, std::int64_t d, std::int64_t* sum) {
  std::int64_t j = 0;
  for (; j + kStripVectors * kLanes <= d; j += kStripVectors * kLanes) {
    add_whole_strip<T, kStripVectors>(rows, count, scale, j, sum);
  }
  for (; j + kLanes <= d; j += kLanes) add_whole_strip<T, 1>(rows, count, scale, j, sum);
  for (; j < d; ++j) {
    for (std::int64_t r = 0; r < count; ++r) {
      const float a = load1(static_cast<const T*>(rows[r]) + j) * scale[r];
      sum[j] += to_long(static_cast<double>(a));
    }
  }
}

// A row that fp32 cannot normalise.
template <class T>
void add_whole_exact(const void* row, double scale, std::int64_t d, std::int64_t* sum) {
  for (std::int64_t j = 0; j < d; ++j) {
    sum[j] += to_long(static_cast<double>(load1(static_cast<const T*>(row) + j)) * scale);
  }
}
