#pragma once

// Search for the nearest direction. Include inside an anonymous namespace.
#include "cpu/simd/row_sums.inl"

inline bool any(Vector a, Vector b) {  // whether an element of a exceeds that of b
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
#else
  bool found = false;
  for (int i = 0; i < kLanes; ++i) found = found || a[i] > b[i];
  return found;
#endif
}

int screen_tile(const ScreenTile& tile, Candidate* candidates) {
  int count = 0;
  for (int i = 0; i < tile.rows; ++i) {
    const Vector length = splat(tile.left_lengths[i]), least = splat(tile.least[i]);
    for (int j = 0; j < tile.columns; j += kLanes) {
      const Vector slack = length * load(tile.right_slack + j) + load(tile.right_terms + j);
      const Vector bound = load(tile.dots + static_cast<std::int64_t>(i) * tile.columns + j) + slack;
      if (!any(bound, least)) continue;
      float bounds[kLanes];
      store(bounds, bound);
      for (int lane = 0; lane < kLanes; ++lane) {
        if (bounds[lane] > tile.least[i]) candidates[count++] = {i, j + lane, bounds[lane]};
      }
    }
  }
  return count;
}

// Cosine of two rows in double precision.
template <class T>
double cosine(const void* left, const void* right, std::int64_t d) {
  const T* a = static_cast<const T*>(left);
  const T* b = static_cast<const T*>(right);
  Doubles dots{}, left_squares{}, right_squares{};
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) {
    Doubles a_part[2], b_part[2];
    widen(load(a + j), &a_part[0], &a_part[1]);
    widen(load(b + j), &b_part[0], &b_part[1]);
    for (int half = 0; half < 2; ++half) {
      dots += a_part[half] * b_part[half];
      left_squares += a_part[half] * a_part[half];
      right_squares += b_part[half] * b_part[half];
    }
  }
  double dot = 0.0, left_square = 0.0, right_square = 0.0;
  for (int i = 0; i < kLanes / 2; ++i) {
    dot += dots[i];
    left_square += left_squares[i];
    right_square += right_squares[i];
  }
  for (; j < d; ++j) {
    const double x = load1(a + j), y = load1(b + j);
    dot += x * y;
    left_square += x * x;
    right_square += y * y;
  }
  return dot / (__builtin_sqrt(left_square) * __builtin_sqrt(right_square));
}
