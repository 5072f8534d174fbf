#pragma once

// Cosines and lengths of rows, and sums of their directions in whole multiples of 2^-30. Include inside an anonymous
// namespace.
#include "cpu/simd/cosine_rows.inl"
#include "cpu/simd/row_sums.inl"

constexpr std::int64_t kWholeColumns = 1024;  // whose sums stay in the first-level cache
constexpr std::int64_t kWholeRows = 1 << 15;  // whose lower 16 bits add up to less than 2^31

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

// Sums of whole numbers of at most 2^30: their lower 32 bits, and the sum of what stands above the lower 16 bits of
// each. The two tell the sum, for the lower 16 bits of kWholeRows numbers add up to no more than 32.
struct WholeSums {
  alignas(64) std::uint32_t lower[kWholeColumns];
  alignas(64) std::int32_t upper[kWholeColumns];
};

// Adds columns [0, columns) of rows, each times its scale, rounded.
template <class T, int count, class Fetch>
inline void add_whole_rows(const T* const* rows, const float* scale, std::int64_t columns, Fetch fetch,
                           WholeSums* sums) {
  for (std::int64_t j = 0; j < columns; j += kLanes) {
    fetch();
    Words lower{};
    Ints upper{};
#pragma GCC unroll 4
    for (int r = 0; r < count; ++r) {
      const Vector a = j + kLanes <= columns ? load(rows[r] + j) : load_part(rows[r] + j, columns - j);
      const Ints whole = to_ints(a * splat(scale[r]));
      lower += reinterpret_cast<Words>(whole);
      upper += whole >> 16;
    }
    *reinterpret_cast<Words*>(sums->lower + j) += lower;
    *reinterpret_cast<Ints*>(sums->upper + j) += upper;
  }
}

// sum[j] += the rows, each times its scale, rounded to whole numbers of at most 2^30. The rows of a group lie apart,
// where no prefetcher of the hardware looks for them.
template <class T>
void add_whole(const void* const* rows, std::int64_t count, const float* scale, std::int64_t d, std::int64_t* sum) {
  constexpr std::int64_t kStep = kRowsAtOnce * kLanes * static_cast<std::int64_t>(sizeof(T));
  constexpr int kLines = kStep > 64 ? static_cast<int>(kStep / 64) : 1;
  for (; count > kWholeRows; count -= kWholeRows, rows += kWholeRows, scale += kWholeRows) {
    add_whole<T>(rows, kWholeRows, scale, d, sum);
  }
  for (std::int64_t start = 0; start < d; start += kWholeColumns) {
    const std::int64_t columns = d - start < kWholeColumns ? d - start : kWholeColumns;
    WholeSums sums{};
    const T* row[kRowsAtOnce];
    const char* next[kRowsAtOnce];
    for (std::int64_t r = 0; r < count; r += kRowsAtOnce) {
      const std::int64_t here = count - r < kRowsAtOnce ? count - r : kRowsAtOnce;
      for (std::int64_t i = 0; i < kRowsAtOnce; ++i) {
        const std::int64_t now = i < here ? r + i : r, later = r + kRowsAtOnce + i < count ? r + kRowsAtOnce + i : now;
        row[i] = static_cast<const T*>(rows[now]) + start;
        next[i] = reinterpret_cast<const char*>(static_cast<const T*>(rows[later]) + start);
      }
      const Stream<kLines> fetch(next, columns * static_cast<std::int64_t>(sizeof(T)), kStep);
      with_constant<kRowsAtOnce>(here,
                                 [&](auto some) { add_whole_rows<T, some>(row, scale + r, columns, fetch, &sums); });
    }
    for (std::int64_t j = 0; j < columns; ++j) {
      const std::uint32_t lower = sums.lower[j] - (static_cast<std::uint32_t>(sums.upper[j]) << 16);
      sum[start + j] += static_cast<std::int64_t>(sums.upper[j]) * (1 << 16) + lower;
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
