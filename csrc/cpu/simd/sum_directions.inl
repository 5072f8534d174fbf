#pragma once

// Sum of the directions of rows. Include inside an anonymous namespace.
#include "cpu/simd/norm.inl"

// Rows whose fp32 partial sums are added to the fp64 sum at a time. The rounding error of a partial sum grows with its
// length; at 32 it stays below that of the rows themselves, and the additions in fp64 cost under 3%.
constexpr std::int64_t kBlockRows = 32;

// Rows are read in a few streams, each from front to back: one does not use all of the memory's bandwidth, and rows
// next to each other would share pages, which prefetchers see as one confused stream. On AMD's processors more streams,
// and rows that are fetched no nearer than into the second-level cache, come closer to that bandwidth.
constexpr int kStreams = kIsZen ? 4 : 2;
constexpr int kFetchedNear = kIsZen ? 2 : 3;

template <class T>
inline void add_one(const T* row, float scale, std::int64_t d, float* block) {
  const Vector s = splat(scale);
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) store(block + j, load(row + j) * s + load(block + j));
  for (; j < d; ++j) block[j] += load1(row + j) * scale;
}

// Adds a row of each stream, which is in the cache, and takes the norms of those that follow, which are not: memory
// never waits for the sums. The rows after those are fetched: prefetchers of the hardware stop at the end of a page.
template <class T>
inline void add_and_look_ahead(const T* const* row, const T* const* next, const T* const* after, const float* scale,
                               std::int64_t d, float* block, float* squared) {
  Vector s[kStreams], squares[kStreams] = {};
  for (int i = 0; i < kStreams; ++i) s[i] = splat(scale[i]);
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) {
    Vector total{};  // of the streams first: a shorter chain of additions
#pragma GCC unroll 4
    for (int i = 0; i < kStreams; ++i) {
      __builtin_prefetch(after[i] + j, 0, kFetchedNear);
      const Vector a = load(next[i] + j);
      squares[i] = a * a + squares[i];
      total = load(row[i] + j) * s[i] + total;
    }
    store(block + j, load(block + j) + total);
  }
  for (int i = 0; i < kStreams; ++i) squared[i] = sum(squares[i]);
  for (; j < d; ++j) {
    for (int i = 0; i < kStreams; ++i) {
      const float a = load1(next[i] + j);
      squared[i] += a * a;
      block[j] += load1(row[i] + j) * scale[i];
    }
  }
}

// A row that fp32 cannot normalise goes straight to the fp64 sum.
template <class T>
void add_exact(const T* row, std::int64_t d, std::int64_t index, double* sum, BadRows* bad) {
  const double norm = exact_norm(row, d, index, bad);
  if (norm == 0.0) return;
  for (std::int64_t j = 0; j < d; ++j) sum[j] += static_cast<double>(load1(row + j)) / norm;
}

template <class T>
inline void add_any(const T* row, float squared, std::int64_t d, std::int64_t index, float* block, double* sum,
                    BadRows* bad) {
  if (plain(squared)) {
    add_one(row, inverse_norm(squared), d, block);
  } else {
    add_exact(row, d, index, sum, bad);
  }
}

inline void empty(std::int64_t d, float* block, double* sum) {
  for (std::int64_t j = 0; j < d; ++j) {
    sum[j] += static_cast<double>(block[j]);
    block[j] = 0.0f;
  }
}

template <class T>
void sum_directions(const Rows& rows, std::int64_t begin, std::int64_t end, float* block, double* sum, BadRows* bad) {
  const T* x = static_cast<const T*>(rows.data);
  const std::int64_t d = rows.d, length = (end - begin) / kStreams;
  float squared[kStreams] = {};
  bool known = false;
  for (std::int64_t j = 0; j < d; ++j) block[j] = 0.0f;
  for (std::int64_t r = 0; r < length; ++r) {
    const T *row[kStreams], *next[kStreams], *after[kStreams];
    float scale[kStreams];
    bool fast = r + 1 < length;
    for (int i = 0; i < kStreams; ++i) {
      row[i] = x + (begin + i * length + r) * rows.stride;
      next[i] = row[i] + (r + 1 < length ? rows.stride : 0);
      after[i] = next[i] + (r + 2 < length ? rows.stride : 0);
      if (!known) squared[i] = squared_norm(row[i], d);
      scale[i] = inverse_norm(squared[i]);
      fast = fast && plain(squared[i]);
    }
    if (fast) {
      add_and_look_ahead(row, next, after, scale, d, block, squared);
    } else {
      for (int i = 0; i < kStreams; ++i) add_any(row[i], squared[i], d, begin + i * length + r, block, sum, bad);
    }
    known = fast;
    if ((r + 1) % (kBlockRows / kStreams) == 0) empty(d, block, sum);
  }
  for (std::int64_t r = begin + kStreams * length; r < end; ++r) {
    const T* row = x + r * rows.stride;
    add_any(row, squared_norm(row, d), d, r, block, sum, bad);
  }
  empty(d, block, sum);
}
