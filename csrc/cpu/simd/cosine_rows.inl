#pragma once

// Cosine of rows to a few directions. Include inside an anonymous namespace.
#include "cpu/simd/dots.inl"
#include "cpu/simd/norm.inl"

constexpr std::int64_t kDepth = 1024;  // columns whose products are added in one chain in fp32

// Columns [0, columns) of four rows as floats, a multiple of kLanes of them: in place where they are that, else in
// `buffer`. Adds their squares, and fetches a row that comes next.
template <class T>
inline void read(const T* const* row, const T* next, std::int64_t columns, float* buffer, const float** x,
                 Vector* squares) {
  const bool in_place = sizeof(T) == sizeof(float) && columns % kLanes == 0;
  constexpr std::int64_t kChain = 16 * kLanes;  // squares added in one chain, whose rounding grows with its length
  std::int64_t j = 0;
  while (j + kLanes <= columns) {
    const std::int64_t stop = j + kChain < columns ? j + kChain : columns;
    Vector part[kRowsAtOnce] = {};
    for (; j + kLanes <= stop; j += kLanes) {
      __builtin_prefetch(next + j);
#pragma GCC unroll 4
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const Vector a = load(row[i] + j);
        part[i] = a * a + part[i];
        if (!in_place) store(buffer + i * kDepth + j, a);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRowsAtOnce; ++i) squares[i] += part[i];
  }
  for (int i = 0; i < kRowsAtOnce; ++i) {
    x[i] = in_place ? reinterpret_cast<const float*>(row[i]) : buffer + i * kDepth;
    if (j == columns) continue;
    const Vector a = load_part(row[i] + j, columns - j);
    squares[i] = a * a + squares[i];
    store(buffer + i * kDepth + j, a);
  }
}

template <int fetched>
inline void dots_of(std::int64_t count, const float* const* x, const float* vectors, std::int64_t pitch,
                    std::int64_t depth, Four* out, const char* const* next, std::int64_t size) {
  switch (count) {
    case 1:
      return dots<1, fetched>(x, vectors, pitch, depth, out, next, size);
    case 2:
      return dots<2, fetched>(x, vectors, pitch, depth, out, next, size);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3:
      return dots<3, fetched>(x, vectors, pitch, depth, out, next, size);
    case 4:
      return dots<4, fetched>(x, vectors, pitch, depth, out, next, size);
    case 5:
      return dots<5, fetched>(x, vectors, pitch, depth, out, next, size);
#endif
  }
}

// A row that fp32 cannot normalise, in double precision.
template <class T>
void cosine_exact(const T* row, std::int64_t d, std::int64_t index, const Directions& directions, float* out,
                  BadRows* bad) {
  const double norm = exact_norm(row, d, index, bad);
  for (std::int64_t t = 0; t < directions.count; ++t) {
    const float* direction = directions.values + t * directions.pitch;
    double dot = 0.0;
    if (norm > 0.0) {
      for (std::int64_t j = 0; j < d; ++j) dot += static_cast<double>(load1(row + j)) / norm * direction[j];
    }
    out[t] = static_cast<float>(dot);
  }
}

// Rows [first, first + count) of those up to `end`, count <= 4. out[count][directions], squared[count].
template <class T>
inline void cosine_tile(const Rows& rows, std::int64_t first, std::int64_t count, std::int64_t end,
                        const Directions& directions, float* out, float* squared) {
  const T *row[kRowsAtOnce], *next[kRowsAtOnce];
  for (std::int64_t i = 0; i < kRowsAtOnce; ++i) {
    row[i] = static_cast<const T*>(rows.data) + (first + (i < count ? i : 0)) * rows.stride;
    next[i] = first + kRowsAtOnce + i < end ? row[i] + kRowsAtOnce * rows.stride : row[i];
  }
  const std::int64_t targets = directions.count, groups = (targets + kMostAtOnce - 1) / kMostAtOnce;
  Vector squares[kRowsAtOnce] = {};
  for (std::int64_t start = 0; start < rows.d; start += kDepth) {
    const std::int64_t columns = start + kDepth < rows.d ? kDepth : rows.d - start;
    const std::int64_t depth = (columns + kLanes - 1) / kLanes * kLanes;
    alignas(64) float buffer[kRowsAtOnce * kDepth];
    const float* x[kRowsAtOnce];
    const T* from[kRowsAtOnce];
    const char* fetch[kRowsAtOnce];
    for (int i = 0; i < kRowsAtOnce; ++i) {
      from[i] = row[i] + start;
      fetch[i] = reinterpret_cast<const char*>(next[i] + start);
    }
    read(from, next[0] + start, columns, buffer, x, squares);
    for (std::int64_t group = 0; group < groups; ++group) {
      const std::int64_t base = targets * group / groups, width = targets * (group + 1) / groups - base;
      const float* vectors = directions.values + base * directions.pitch + start;
      Four dot[kMostAtOnce];
      if (group < kRowsAtOnce - 1) {
        dots_of<1>(width, x, vectors, directions.pitch, depth, dot, fetch + 1 + group, sizeof(T));
      } else {
        dots_of<0>(width, x, vectors, directions.pitch, depth, dot, fetch, sizeof(T));
      }
      for (std::int64_t i = 0; i < count; ++i) {
        float* to = out + i * targets + base;
        for (std::int64_t q = 0; q < width; ++q) to[q] = start == 0 ? dot[q][i] : to[q] + dot[q][i];
      }
    }
  }
  const Four total = sums(squares[0], squares[1], squares[2], squares[3]);
  for (std::int64_t i = 0; i < count; ++i) {
    squared[i] = total[i];
    const float scale = inverse_norm(total[i]);
    for (std::int64_t t = 0; t < targets; ++t) out[i * targets + t] *= scale;
  }
}

template <class T>
void cosine_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions, float* out,
                 BadRows* bad) {
  for (std::int64_t r = begin; r < end; r += kRowsAtOnce) {
    const std::int64_t count = end - r < kRowsAtOnce ? end - r : kRowsAtOnce;
    float squared[kRowsAtOnce];
    float* to = out + (r - begin) * directions.count;
    cosine_tile<T>(rows, r, count, end, directions, to, squared);
    for (std::int64_t i = 0; i < count; ++i) {
      if (plain(squared[i])) continue;
      const T* row = static_cast<const T*>(rows.data) + (r + i) * rows.stride;
      cosine_exact(row, rows.d, r + i, directions, to + i * directions.count, bad);
    }
  }
}
