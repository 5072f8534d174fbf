#pragma once

// Sum of the directions of rows. Include inside an anonymous namespace.
#include "cpu/norm.inl"

// Rows whose fp32 partial sums are added to the fp64 sum at a time. The rounding error of a partial sum grows with its
// length; at 64 it stays below that of the rows themselves, and the additions in fp64 cost under 3%.
constexpr std::int64_t kBlockRows = 64;

template <class T>
inline void add_one(const T* row, float scale, std::int64_t d, float* block) {
  const Vector s = splat(scale);
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) store(block + j, load(row + j) * s + load(block + j));
  for (; j < d; ++j) block[j] += load1(row + j) * scale;
}

// Four rows at a time: one read and one write of the block for four rows, and a chain of additions a quarter as long.
template <class T>
inline void add_four(const T* const* row, const float* scale, std::int64_t d, float* block) {
  const Vector s0 = splat(scale[0]), s1 = splat(scale[1]), s2 = splat(scale[2]), s3 = splat(scale[3]);
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) {
    Vector a = load(row[0] + j) * s0;
    a = load(row[1] + j) * s1 + a;
    a = load(row[2] + j) * s2 + a;
    a = load(row[3] + j) * s3 + a;
    store(block + j, load(block + j) + a);
  }
  for (; j < d; ++j) {
    block[j] += load1(row[0] + j) * scale[0] + load1(row[1] + j) * scale[1] + load1(row[2] + j) * scale[2] +
                load1(row[3] + j) * scale[3];
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
void sum_directions(const Rows& rows, std::int64_t begin, std::int64_t end, float* block, double* sum, BadRows* bad) {
  const T* x = static_cast<const T*>(rows.data);
  const std::int64_t d = rows.d;
  for (std::int64_t start = begin; start < end; start += kBlockRows) {
    const std::int64_t stop = start + kBlockRows < end ? start + kBlockRows : end;
    for (std::int64_t j = 0; j < d; ++j) block[j] = 0.0f;
    for (std::int64_t r = start; r < stop; r += 4) {
      const int count = stop - r < 4 ? static_cast<int>(stop - r) : 4;
      const T* row[4];
      float squared[4], scale[4];
      bool all_plain = count == 4;
      for (int i = 0; i < count; ++i) {  // one row from front to back: a single stream from memory
        row[i] = x + (r + i) * rows.stride;
        squared[i] = squared_norm(row[i], d);
        scale[i] = inverse_norm(squared[i]);
        all_plain = all_plain && plain(squared[i]);
      }
      if (all_plain) {
        add_four(row, scale, d, block);
        continue;
      }
      for (int i = 0; i < count; ++i) {
        if (plain(squared[i])) {
          add_one(row[i], scale[i], d, block);
        } else {
          add_exact(row[i], d, r + i, sum, bad);
        }
      }
    }
    for (std::int64_t j = 0; j < d; ++j) sum[j] += static_cast<double>(block[j]);
  }
}
