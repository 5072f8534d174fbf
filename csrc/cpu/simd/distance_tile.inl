#pragma once

// Euclidean distances of a tile. Include inside an anonymous namespace.
#include "cpu/simd/vector.inl"

inline Vector square_root(Vector v) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(v);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(v);
#else
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

template <bool all>
inline void distance_tile_of(const DistanceTile& tile) {
  const Vector zero{};
  for (int j = 0; j < tile.columns; j += kLanes) {
    const Vector right_norms = load(tile.right_norms + j), weights = load(tile.weights + j);
    // Positions within a tile are small: floats hold them exactly, and compare in one instruction.
    const Vector columns = ramp() + splat(static_cast<float>(all ? 0 : tile.ahead + j));
    Vector column_sums = load(tile.column_sums + j);
    for (int i = 0; i < tile.rows; ++i) {
      const Vector dots = load(tile.dots + static_cast<std::int64_t>(i) * tile.columns + j);
      const Vector squared = splat(tile.left_norms[i]) + right_norms - (dots + dots);
      Vector distances = square_root(maximum(squared, zero)) * weights;
      if (!all) distances = splat(static_cast<float>(i)) < columns ? distances : zero;
      column_sums += distances;
      float* row_sums = tile.row_sums + static_cast<std::int64_t>(i) * kLanes;
      store(row_sums, load(row_sums) + distances);
    }
    store(tile.column_sums + j, column_sums);
  }
}

void distance_tile(const DistanceTile& tile) {
  if (tile.ahead == kAll) {
    distance_tile_of<true>(tile);
  } else {
    distance_tile_of<false>(tile);
  }
}
