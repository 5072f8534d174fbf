#pragma once

// What k-means does before its first iteration: the mean and magnitude of the rows, and greedy k-means++. Include
// inside an anonymous namespace.
#include "cpu/simd/dots.inl"

// The largest bit pattern of the magnitudes of a row: from that of infinity on, the row is not finite.
template <class T>
inline std::uint32_t add_row(const T* row, std::int64_t d, float scale, float* block) {
  const Vector s = splat(scale);
  const Words magnitude = Words{} + 0x7fffffffu;
  Words most{};
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) {
    const Vector a = load(row + j);
    const Words bits = reinterpret_cast<Words>(a) & magnitude;
    most = bits > most ? bits : most;
    store(block + j, a * s + load(block + j));
  }
  std::uint32_t largest = 0;
  for (int i = 0; i < kLanes; ++i) largest = most[i] > largest ? most[i] : largest;
  for (; j < d; ++j) {
    const float a = load1(row + j);
    std::uint32_t bits;
    __builtin_memcpy(&bits, &a, sizeof bits);
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
    block[j] += a * scale;
  }
  return largest;
}

template <class T>
void sum_rows(const Rows& rows, std::int64_t begin, std::int64_t end, float scale, float* block, double* sum,
              std::uint32_t* largest, BadRows* bad) {
  constexpr std::int64_t kRowsInBlock = 64;  // in fp32, as for directions
  constexpr std::uint32_t kInfinity = 0x7f800000u;
  const T* x = static_cast<const T*>(rows.data);
  const std::int64_t d = rows.d;
  for (std::int64_t start = begin; start < end; start += kRowsInBlock) {
    const std::int64_t stop = start + kRowsInBlock < end ? start + kRowsInBlock : end;
    for (std::int64_t j = 0; j < d; ++j) block[j] = 0.0f;
    for (std::int64_t r = start; r < stop; ++r) {
      const std::uint32_t most = add_row(x + r * rows.stride, d, scale, block);
      *largest = most > *largest ? most : *largest;
      if (most < kInfinity) continue;
      ++bad->nonfinite;
      if (bad->first < 0) bad->first = r;
    }
    for (std::int64_t j = 0; j < d; ++j) sum[j] += static_cast<double>(block[j]);
  }
}

template <class T>
void read_row(const Rows& rows, std::int64_t index, const Frame& frame, float* out) {
  const T* row = static_cast<const T*>(rows.data) + index * rows.stride;
  for (std::int64_t j = 0; j < frame.pitch; ++j) {
    out[j] = j < rows.d ? load1(row + j) * frame.scale - frame.shift[j] : 0.0f;
  }
}

// out[q] = squared distances of four rows to candidate q, from the differences: no digits cancel.
template <class T>
inline void squared_distances(const T* const* row, const T* const* next, const Frame& frame, std::int64_t d,
                              const float* candidates, Four* out) {
  const Vector scale = splat(frame.scale);
  Vector total[kCandidates][kRowsAtOnce] = {};
  for (std::int64_t j = 0; j < frame.depth; j += kLanes) {
    const Vector shift = load(frame.shift + j);
    Vector z[kRowsAtOnce];
#pragma GCC unroll 4
    for (int i = 0; i < kRowsAtOnce; ++i) {
      __builtin_prefetch(next[i] + j, 0, 2);
      const Vector a = j + kLanes <= d ? load(row[i] + j) : load_part(row[i] + j, d - j);
      z[i] = a * scale - shift;
    }
#pragma GCC unroll 4
    for (int q = 0; q < kCandidates; ++q) {
      const Vector candidate = load(candidates + q * frame.pitch + j);
#pragma GCC unroll 4
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const Vector difference = z[i] - candidate;
        total[q][i] = difference * difference + total[q][i];
      }
    }
  }
#pragma GCC unroll 4
  for (int q = 0; q < kCandidates; ++q) out[q] = sums(total[q][0], total[q][1], total[q][2], total[q][3]);
}

template <class T>
void seed_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame, const SeedPass& pass,
               double* inertia) {
  const T* x = static_cast<const T*>(rows.data);
  for (std::int64_t r = begin; r < end; r += kRowsAtOnce) {
    const std::int64_t count = end - r < kRowsAtOnce ? end - r : kRowsAtOnce;
    const T* row[kRowsAtOnce];
    const T* next[kRowsAtOnce];
    for (std::int64_t i = 0; i < kRowsAtOnce; ++i) {
      row[i] = x + (r + (i < count ? i : 0)) * rows.stride;
      next[i] = r + kRowsAtOnce + i < end ? x + (r + kRowsAtOnce + i) * rows.stride : row[i];
    }
    Four distance[kCandidates];
    squared_distances(row, next, frame, rows.d, pass.candidates, distance);
    for (std::int64_t i = 0; i < count; ++i) {
      float* known = pass.distances + (r + i) * kCandidates;
      float closest = pass.closest[r + i];
      if (pass.chosen >= 0 && known[pass.chosen] < closest) closest = known[pass.chosen];
      pass.closest[r + i] = closest;
      for (int q = 0; q < kCandidates; ++q) {
        known[q] = distance[q][i];
        inertia[q] += static_cast<double>(known[q] < closest ? known[q] : closest);
      }
    }
  }
}
