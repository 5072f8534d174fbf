#pragma once

// Cosines and lengths of rows, and sums of their directions in whole multiples of 2^-30. Include inside an anonymous
// namespace.
#include "cpu/simd/cosine_rows.inl"
#include "cpu/simd/row_sums.inl"

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

inline float largest_of(Vector v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(v);
#else
  float largest = v[0];
  for (int i = 1; i < kLanes; ++i) largest = v[i] > largest ? v[i] : largest;
  return largest;
#endif
}

template <class T>
void measure_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions, float* out,
                  double* lengths, float* largest) {
  for (std::int64_t r = begin; r < end; r += kRowsAtOnce) {
    const std::int64_t count = end - r < kRowsAtOnce ? end - r : kRowsAtOnce;
    Squares squares[kRowsAtOnce];
    float* to = out + (r - begin) * directions.count;
    cosine_tile<T>(rows, r, count, end, directions, to, squares);
    const Four squared = squared_of(squares);
    for (std::int64_t i = 0; i < count; ++i) {
      lengths[r - begin + i] = __builtin_sqrt(static_cast<double>(squared[i]));
      largest[r - begin + i] = __builtin_sqrtf(largest_of(squares[i].most));
      if (plain(squared[i])) continue;
      BadRows ignored;  // the lengths tell
      const T* row = static_cast<const T*>(rows.data) + (r + i) * rows.stride;
      cosine_exact(row, rows.d, r + i, directions, to + i * directions.count, &ignored);
      lengths[r - begin + i] = exact_length(row, rows.d);
    }
  }
}

// Rounds to whole numbers.
inline Ints to_ints(Vector v) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_cvtps_epi32(v));
#elif defined(__AVX2__)
  return reinterpret_cast<Ints>(_mm256_cvtps_epi32(v));
#elif defined(__SSE2__)
  return reinterpret_cast<Ints>(_mm_cvtps_epi32(v));
#else
  Ints whole;
  for (int i = 0; i < kLanes; ++i) whole[i] = static_cast<std::int32_t>(__builtin_rintf(v[i]));
  return whole;
#endif
}

inline std::int64_t to_long(double value) { return static_cast<std::int64_t>(__builtin_rint(value)); }

constexpr int kWholeVectors = 8;  // of a row at a time, whose sums stay in registers

// sum[columns] += the rows from column `start` on, each times its scale, rounded to whole numbers.
template <class T, bool whole>
inline void add_whole_columns(const void* const* rows, std::int64_t count, const float* scale, std::int64_t start,
                              std::int64_t columns, std::int64_t* sum) {
  Ints total[kWholeVectors] = {};
  for (std::int64_t r = 0; r < count; ++r) {
    const T* row = static_cast<const T*>(rows[r]) + start;
    const Vector by = splat(scale[r]);
    constexpr int kLines = static_cast<int>(kWholeVectors * kLanes * sizeof(T) / 64);
#pragma GCC unroll 8
    for (int line = 0; line < kLines; ++line) {
      const auto next = reinterpret_cast<std::uintptr_t>(row) + kWholeVectors * kLanes * sizeof(T);
      __builtin_prefetch(reinterpret_cast<const void*>(next + static_cast<std::uintptr_t>(line) * 64));
    }
#pragma GCC unroll 8
    for (int v = 0; v < kWholeVectors; ++v) {
      const std::int64_t j = static_cast<std::int64_t>(v) * kLanes;
      if (whole || j + kLanes <= columns) {
        total[v] += to_ints(load(row + j) * by);
      } else if (j < columns) {
        total[v] += to_ints(load_part(row + j, columns - j) * by);
      }
    }
  }
  std::int32_t found[kWholeVectors * kLanes];
  __builtin_memcpy(found, total, sizeof found);
  for (std::int64_t j = 0; j < columns; ++j) sum[j] += found[j];
}

template <class T>
void add_whole(const void* const* rows, std::int64_t count, const float* scale, std::int64_t d, std::int64_t* sum) {
  constexpr std::int64_t kStep = kWholeVectors * kLanes;
  std::int64_t start = 0;
  for (; start + kStep <= d; start += kStep) add_whole_columns<T, true>(rows, count, scale, start, kStep, sum + start);
  if (start < d) add_whole_columns<T, false>(rows, count, scale, start, d - start, sum + start);
}

// A row that fp32 cannot normalise.
template <class T>
void add_whole_exact(const void* row, double scale, std::int64_t d, std::int64_t* sum) {
  for (std::int64_t j = 0; j < d; ++j) {
    sum[j] += to_long(static_cast<double>(load1(static_cast<const T*>(row) + j)) * scale);
  }
}
