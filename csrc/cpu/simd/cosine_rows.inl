#pragma once

// Cosine of rows to a few directions. Include inside an anonymous namespace.
#include "cpu/simd/dots.inl"
#include "cpu/simd/norm.inl"

// Columns whose products are added in one chain in fp32. Four rows of them stay in the first-level cache while all
// directions pass, and so does a pass's share of these.
#if defined(__SSE2__) && !defined(__AVX2__)
constexpr std::int64_t kDepth = 512;
#else
constexpr std::int64_t kDepth = 1024;
#endif
constexpr std::int64_t kRowPitch = kDepth + 16;  // rows 4096 bytes apart would compete for a few places of that cache
constexpr std::int64_t kTargetsAtOnce = 64;      // with more, the rows are read again

// Whether rows become floats again for every few directions, and not once in a buffer: with 16 lanes, that takes the
// ports of the multiplications on processors of Intel.
template <class T>
constexpr bool kAsTheyStand = std::is_same_v<T, float> || kLanes == 8 || kIsZen;

constexpr int kBesideSquares = kMostAtOnce - 1;  // directions: the squares take the place of one

// Squares of a row, lane by lane.
struct Squares {
  Vector sum{}, most{};  // most of one chain, which no square exceeds
};

// Adds dots() with the first directions, and the squares of the rows. Where x is given, columns [0, columns) become
// floats there, with zeros up to a whole vector; else they are whole vectors.
template <int count, bool keeps, class T, class Fetch>
__attribute__((noinline)) void first_dots(const T* const* row, const float* vectors, std::int64_t pitch,
                                          std::int64_t columns, float* x, Four* out, Squares* squares,
                                          Fetch* fetching) {
  Fetch fetch = *fetching;
  constexpr std::int64_t kChain = 16 * kLanes;  // squares added in one chain, whose rounding grows with its length
  Vector total[kRowsAtOnce][count + 1] = {};
  std::int64_t j = 0;
  while (j + kLanes <= columns) {
    const std::int64_t stop = j + kChain < columns ? j + kChain : columns;
    Vector part[kRowsAtOnce] = {};
    for (; j + kLanes <= stop; j += kLanes) {
      fetch();
      Vector b[count + 1];
#pragma GCC unroll 5
      for (int q = 0; q < count; ++q) b[q] = load(vectors + q * pitch + j);
#pragma GCC unroll 4
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const Vector a = load(row[i] + j);
        if constexpr (keeps) store(x + i * kRowPitch + j, a);
        part[i] = a * a + part[i];
#pragma GCC unroll 5
        for (int q = 0; q < count; ++q) total[i][q] = a * b[q] + total[i][q];
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRowsAtOnce; ++i) {
      squares[i].sum += part[i];
      squares[i].most = maximum(squares[i].most, part[i]);
    }
  }
  if constexpr (keeps) {
    if (j < columns) {
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const Vector a = load_part(row[i] + j, columns - j);
        store(x + i * kRowPitch + j, a);
        squares[i].sum = a * a + squares[i].sum;
        squares[i].most = maximum(squares[i].most, a * a);
        for (int q = 0; q < count; ++q) total[i][q] = a * load(vectors + q * pitch + j) + total[i][q];
      }
    }
  }
#pragma GCC unroll 5
  for (int q = 0; q < count; ++q) out[q] += sums(total[0][q], total[1][q], total[2][q], total[3][q]);
  *fetching = fetch;
}

// Adds the dot products of four rows with `targets` directions over `columns`; the rest as first_dots().
template <bool keeps, class T, class Fetch>
inline void add_dots(const T* const* row, const float* vectors, std::int64_t pitch, std::int64_t columns,
                     std::int64_t targets, Four* total, Squares* squares, Fetch fetch) {
  const std::int64_t together = targets < kMostAtOnce ? targets : kBesideSquares, others = targets - together;
  const std::int64_t groups = (others + kMostAtOnce - 1) / kMostAtOnce;
  const std::int64_t depth = (columns + kLanes - 1) / kLanes * kLanes;
  alignas(64) float x[keeps ? kRowsAtOnce * kRowPitch : 1];
  using Kept = std::conditional_t<keeps, float, T>;
  const Kept* own[kRowsAtOnce];
  for (int i = 0; i < kRowsAtOnce; ++i) {
    if constexpr (keeps) own[i] = x + i * kRowPitch;
    if constexpr (!keeps) own[i] = row[i];
  }
  with_constant<kBesideSquares>(
      together, [&](auto width) { first_dots<width, keeps>(row, vectors, pitch, columns, x, total, squares, &fetch); });
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t begin = together + others * group / groups, end = together + others * (group + 1) / groups;
    with_constant<kMostAtOnce>(end - begin, [&](auto width) {
      Four dot[width + 1];
      dots<width>(own, vectors + begin * pitch, pitch, depth, dot, &fetch);
      for (int q = 0; q < width; ++q) total[begin + q] += dot[q];
    });
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

// f(a constant: cache lines that a step of so many bytes, at most `most`, needs).
template <std::int64_t most, class F>
inline void with_lines(std::int64_t step, F f) {
  if constexpr (most > 64) {
    if (step <= most / 2) return with_lines<most / 2>(step, f);
  }
  f(std::integral_constant<int, (most > 64 ? most / 64 : 1)>());
}

// Squared norms of four rows.
inline Four squared_of(const Squares* squares) {
  return sums(squares[0].sum, squares[1].sum, squares[2].sum, squares[3].sum);
}

// Rows [first, first + count) of those up to `end`, count <= 4. out[count][directions], squares[4].
template <class T>
inline void cosine_tile(const Rows& rows, std::int64_t first, std::int64_t count, std::int64_t end,
                        const Directions& directions, float* out, Squares* squares) {
  const T *row[kRowsAtOnce], *next[kRowsAtOnce];
  for (std::int64_t i = 0; i < kRowsAtOnce; ++i) {
    row[i] = static_cast<const T*>(rows.data) + (first + (i < count ? i : 0)) * rows.stride;
    next[i] = first + kRowsAtOnce + i < end ? row[i] + kRowsAtOnce * rows.stride : row[i];
  }
  for (std::int64_t base = 0; base == 0 || base < directions.count; base += kTargetsAtOnce) {
    const std::int64_t left = directions.count - base, targets = left < kTargetsAtOnce ? left : kTargetsAtOnce;
    const std::int64_t passes = (targets + kMostAtOnce) / kMostAtOnce;
    constexpr std::int64_t kStep = kRowsAtOnce * kLanes * static_cast<std::int64_t>(sizeof(T));
    const std::int64_t step = (kStep + passes - 1) / passes;
    Four total[kTargetsAtOnce];
    for (std::int64_t t = 0; t < targets; ++t) total[t] = Four{};
    for (int i = 0; i < kRowsAtOnce; ++i) squares[i] = {};
    for (std::int64_t start = 0; start < rows.d; start += kDepth) {
      const std::int64_t columns = start + kDepth < rows.d ? kDepth : rows.d - start;
      const float* vectors = directions.values + base * directions.pitch + start;
      const T* from[kRowsAtOnce];
      const char* fetched[kRowsAtOnce];
      for (int i = 0; i < kRowsAtOnce; ++i) {
        from[i] = row[i] + start;
        fetched[i] = reinterpret_cast<const char*>(next[i] + start);
      }
      const auto add = [&](auto lines) {
        const Stream<lines> stream(fetched, columns * static_cast<std::int64_t>(sizeof(T)), step);
        if (kAsTheyStand<T> && columns % kLanes == 0) {
          add_dots<false>(from, vectors, directions.pitch, columns, targets, total, squares, stream);
        } else {
          add_dots<true>(from, vectors, directions.pitch, columns, targets, total, squares, stream);
        }
      };
      with_lines<kStep>(step, add);
    }
    const Four squared = squared_of(squares);
    Four scale;
    for (int i = 0; i < kRowsAtOnce; ++i) scale[i] = inverse_norm(squared[i]);
    std::int64_t t = 0;
    for (; t + 4 <= targets; t += 4) {
      Four block[4];
      for (int q = 0; q < 4; ++q) block[q] = total[t + q] * scale;
      transpose_four(block);
      for (std::int64_t i = 0; i < count; ++i) {
        __builtin_memcpy(out + i * directions.count + base + t, &block[i], sizeof block[i]);
      }
    }
    for (; t < targets; ++t) {
      for (std::int64_t i = 0; i < count; ++i) out[i * directions.count + base + t] = total[t][i] * scale[i];
    }
  }
}

template <class T>
void cosine_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions, float* out,
                 BadRows* bad) {
  for (std::int64_t r = begin; r < end; r += kRowsAtOnce) {
    const std::int64_t count = end - r < kRowsAtOnce ? end - r : kRowsAtOnce;
    Squares squares[kRowsAtOnce];
    float* to = out + (r - begin) * directions.count;
    cosine_tile<T>(rows, r, count, end, directions, to, squares);
    const Four squared = squared_of(squares);
    for (std::int64_t i = 0; i < count; ++i) {
      if (plain(squared[i])) continue;
      const T* row = static_cast<const T*>(rows.data) + (r + i) * rows.stride;
      cosine_exact(row, rows.d, r + i, directions, to + i * directions.count, bad);
    }
  }
}
