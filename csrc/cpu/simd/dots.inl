#pragma once

// Dot products of four rows with a few vectors, along the columns: no padding of the vectors' number to that of the
// lanes. Include inside an anonymous namespace.
#include "cpu/simd/vector.inl"

typedef float Four __attribute__((vector_size(16)));
typedef std::int32_t FourInts __attribute__((vector_size(16)));

constexpr int kRowsAtOnce = 4;
// Vectors at once: with four rows, enough chains of additions to hide their latency, and they fit in the registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMostAtOnce = 5;
#elif defined(__AVX2__)
constexpr int kMostAtOnce = 3;
#else
constexpr int kMostAtOnce = 2;
#endif

// The sums of the lanes of four vectors, each in the same order as the others.
inline Four sums(Vector a, Vector b, Vector c, Vector d) {
#if defined(__AVX512F__)
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
#else
  return Four{sum(a), sum(b), sum(c), sum(d)};
#endif
}

inline void transpose_four(Four (&block)[4]) {
  const FourInts low{0, 4, 1, 5}, high{2, 6, 3, 7};
  const Four a = __builtin_shuffle(block[0], block[2], low), b = __builtin_shuffle(block[0], block[2], high);
  const Four c = __builtin_shuffle(block[1], block[3], low), d = __builtin_shuffle(block[1], block[3], high);
  block[0] = __builtin_shuffle(a, c, low);
  block[1] = __builtin_shuffle(a, c, high);
  block[2] = __builtin_shuffle(b, d, low);
  block[3] = __builtin_shuffle(b, d, high);
}

// Four rows that come next, fetched into the second-level cache as one stream: `step` bytes at each call, of up to so
// many cache lines. An even step from pass to pass keeps memory busy, and one stream is what prefetchers of the
// hardware can follow.
template <int lines>
class Stream {
 public:
  // `bytes` of each row.
  Stream(const char* const* rows, std::int64_t bytes, std::int64_t step)
      : row_(rows), at_(rows[0]), end_(at_ + bytes), bytes_(bytes), step_(step) {}

  void operator()() {
    constexpr int kLine = 64;
#pragma GCC unroll 4
    for (int i = 0; i < lines; ++i) __builtin_prefetch(at_ + i * kLine, 0, 2);
    at_ += step_;
    if (at_ < end_) return;
    if (++done_ < kRowsAtOnce) ++row_;  // the last row once more costs nothing
    at_ = *row_;
    end_ = at_ + bytes_;
  }

 private:
  const char* const* row_;
  const char *at_, *end_;
  std::int64_t bytes_, step_;
  int done_ = 0;  // rows
};

// out[q] = the dot products of the four rows x[i] with vector q, all of `depth` columns, a multiple of kLanes.
// `*fetching` is called for every kLanes columns.
template <int count, class T, class Fetch>
__attribute__((noinline)) void dots(const T* const* x, const float* vectors, std::int64_t pitch, std::int64_t depth,
                                    Four* out, Fetch* fetching) {
  Fetch fetch = *fetching;  // in registers: nothing else points to it
  Vector total[kRowsAtOnce][count] = {};
  for (std::int64_t j = 0; j < depth; j += kLanes) {
    fetch();
    Vector b[count];
#pragma GCC unroll 5
    for (int q = 0; q < count; ++q) b[q] = load(vectors + q * pitch + j);
#pragma GCC unroll 4
    for (int i = 0; i < kRowsAtOnce; ++i) {
      const Vector row = load(x[i] + j);
#pragma GCC unroll 5
      for (int q = 0; q < count; ++q) total[i][q] = row * b[q] + total[i][q];
    }
  }
#pragma GCC unroll 5
  for (int q = 0; q < count; ++q) out[q] = sums(total[0][q], total[1][q], total[2][q], total[3][q]);
  *fetching = fetch;
}

// f(a constant of the value of `count`), which is 0 to `most`.
template <int most, class F>
inline void with_constant(std::int64_t count, F f) {
  if constexpr (most > 0) {
    if (count < most) return with_constant<most - 1>(count, f);
  }
  f(std::integral_constant<int, most>());
}
