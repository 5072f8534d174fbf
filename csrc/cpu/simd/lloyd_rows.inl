#pragma once

// A pass of Lloyd's algorithm: labels, and the sums of the rows of each cluster. Include inside an anonymous namespace.
#include "cpu/simd/dots.inl"

constexpr int kFetchedAtStage = 2;  // rows; the others are fetched between dot products, so that memory never rests

// z of four rows and their squared norms. Rows are read side by side, which memory serves faster than one by one.
template <class T>
inline void stage(const T* const* row, const char* const* next, std::int64_t d, const Frame& frame, float* z,
                  float* norms) {
  const Vector scale = splat(frame.scale);
  Vector squares[kRowsAtOnce] = {};
  for (std::int64_t j = 0; j < frame.depth; j += kLanes) {
    for (int i = 0; i < kFetchedAtStage; ++i) {
      __builtin_prefetch(next[i] + j * static_cast<std::int64_t>(sizeof(T)), 0, 2);
    }
    const Vector shift = load(frame.shift + j);
#pragma GCC unroll 4
    for (int i = 0; i < kRowsAtOnce; ++i) {
      const Vector a = (j + kLanes <= d ? load(row[i] + j) : load_part(row[i] + j, d - j)) * scale - shift;
      squares[i] = a * a + squares[i];
      store(z + i * frame.pitch + j, a);
    }
  }
  const Four total = sums(squares[0], squares[1], squares[2], squares[3]);
  for (int i = 0; i < kRowsAtOnce; ++i) norms[i] = total[i];
}

// The best two of the scores |c|^2 / 2 - <z, c> of four rows.
struct Best {
  Four first, second;
  FourInts label;
};

// Fetches so many rows side by side, of elements of `size` bytes.
template <int rows>
struct FetchRows {
  const char* const* next;
  std::int64_t size, at;

  void operator()() {
    for (int i = 0; i < rows; ++i) __builtin_prefetch(next[i] + at, 0, 2);
    at += kLanes * size;
  }
};

template <int count>
inline void compare(const float* const* z, const Frame& frame, const Centroids& centroids, std::int64_t from,
                    Best* best, const char* const* next, int fetched, std::int64_t size) {
  const float* values = centroids.values + from * frame.pitch;
  Four dot[count];
  with_constant<2>(fetched, [&](auto rows) {
    FetchRows<rows> fetch{next, size, 0};
    dots<count>(z, values, frame.pitch, frame.depth, dot, &fetch);
  });
  for (int q = 0; q < count; ++q) {
    const float half = centroids.halves[from + q];
    const Four score = Four{half, half, half, half} - dot[q];
    const auto label = static_cast<std::int32_t>(from + q);
    const FourInts better = score < best->first;
    const Four loser = better ? best->first : score;
    best->second = loser < best->second ? loser : best->second;
    best->first = better ? score : best->first;
    best->label = better ? FourInts{label, label, label, label} : best->label;
  }
}

inline float squared_distance(const float* a, const float* b, std::int64_t depth) {
  Vector total{};
  for (std::int64_t j = 0; j < depth; j += kLanes) {
    const Vector difference = load(a + j) - load(b + j);
    total = difference * difference + total;
  }
  return sum(total);
}

// The nearest centroid by the differences, for a row whose best two scores are closer than their rounding errors.
__attribute__((noinline)) inline std::int32_t nearest_exactly(const float* z, const Frame& frame,
                                                              const Centroids& centroids) {
  std::int32_t label = 0;
  float least = __builtin_inff();
  for (std::int64_t c = 0; c < centroids.k; ++c) {
    const float distance = squared_distance(z, centroids.values + c * frame.pitch, frame.depth);
    if (distance < least) {
      least = distance;
      label = static_cast<std::int32_t>(c);
    }
  }
  return label;
}

inline float root(float square) { return square > 0.0f ? __builtin_sqrtf(square) : 0.0f; }

// Labels and gaps of z[rows][pitch]; z has rows up to a multiple of four. All meet a few centroids before they meet the
// next few: those stay in L1.
inline void assign(const float* z, const float* norms, std::int64_t rows, const Frame& frame,
                   const Centroids& centroids, const char* const* next, std::int64_t size, std::int32_t* labels,
                   float* gaps) {
  constexpr float kInfinity = __builtin_inff();
  const std::int64_t tiles = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  Best best[kBucketRows / kRowsAtOnce];
  for (std::int64_t t = 0; t < tiles; ++t) best[t] = {Four{} + kInfinity, Four{} + kInfinity, FourInts{}};
  const std::int64_t groups = (centroids.k + kMostAtOnce - 1) / kMostAtOnce;
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t from = centroids.k * group / groups, width = centroids.k * (group + 1) / groups - from;
    // Two rows are left to fetch: with one group of centroids, or with two.
    const int fetched = groups == 1 ? 2 : group < 2 ? 1 : 0;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const float* row[kRowsAtOnce];
      for (int i = 0; i < kRowsAtOnce; ++i) row[i] = z + (t * kRowsAtOnce + i) * frame.pitch;
      const char* const* fetch = next + t * kRowsAtOnce + kFetchedAtStage + (group == 1 ? 1 : 0);
      switch (width) {
        case 1:
          compare<1>(row, frame, centroids, from, best + t, fetch, fetched, size);
          break;
        case 2:
          compare<2>(row, frame, centroids, from, best + t, fetch, fetched, size);
          break;
#if defined(__AVX2__) || defined(__aarch64__)
        case 3:
          compare<3>(row, frame, centroids, from, best + t, fetch, fetched, size);
          break;
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
        case 4:
          compare<4>(row, frame, centroids, from, best + t, fetch, fetched, size);
          break;
        case 5:
          compare<5>(row, frame, centroids, from, best + t, fetch, fetched, size);
          break;
#endif
      }
    }
  }
  // The error of a dot product of m terms in each lane is about sqrt(m) 2^-25 of the product of the norms; ten times.
  const float chain = static_cast<float>(frame.depth / kLanes);
  const float slack = 0x1p-22f * (2.0f + __builtin_sqrtf(chain));
  for (std::int64_t r = 0; r < rows; ++r) {
    const Best& found = best[r / kRowsAtOnce];
    const int i = static_cast<int>(r % kRowsAtOnce);
    const float length = __builtin_sqrtf(norms[r]) + centroids.longest, doubt = slack * length * length;
    const float first = found.first[i], second = found.second[i];
    if (second - first > doubt || centroids.k == 1) {
      labels[r] = found.label[i];
      gaps[r] = root(norms[r] + 2.0f * second - doubt) - root(norms[r] + 2.0f * first + doubt);
    } else {
      labels[r] = nearest_exactly(z + r * frame.pitch, frame, centroids);
      gaps[r] = -1.0f;
    }
  }
}

// Whether a row may be nearer to another centroid than to its own by now: not while the centroids together moved less
// than its gap (Hamerly, 2010). Such a row need not be read.
inline bool may_change(const LloydPass& pass, std::int64_t row) {
  const std::int32_t label = pass.labels[row];
  if (label < 0) return true;
  const float others = label == pass.most_moved ? pass.second_move : pass.moves[pass.most_moved];
  const float gap = pass.gaps[row];
  // The last term outweighs the rounding errors of these additions.
  pass.gaps[row] = gap - (pass.moves[label] + others) * (1.0f + 0x1p-20f) - (gap > 0.0f ? gap * 0x1p-22f : 0.0f);
  return !(pass.gaps[row] > 0.0f);
}

inline void add(const float* z, float sign, std::int64_t depth, float* sum) {
  const Vector s = splat(sign);
  for (std::int64_t j = 0; j < depth; j += kLanes) store(sum + j, load(z + j) * s + load(sum + j));
}

// Adds the fp32 sums to the fp64 ones, and leaves zeros.
inline void flush(const Frame& frame, std::int64_t k, std::int64_t d, float* block, double* sums) {
  for (std::int64_t c = 0; c < k; ++c) {
    float* from = block + c * frame.pitch;
    double* to = sums + c * d;
    for (std::int64_t j = 0; j < d; ++j) to[j] += static_cast<double>(from[j]);
    for (std::int64_t j = 0; j < frame.pitch; ++j) from[j] = 0.0f;
  }
}

// Reads `count` rows, named by their place after row `start`, and moves them to their clusters.
template <class T>
inline void move_rows(const Rows& rows, std::int64_t start, const std::int32_t* active, std::int64_t count,
                      std::int64_t together, const Frame& frame, const LloydPass& pass, const LloydScratch& scratch,
                      LloydSums* out) {
  const T* x = static_cast<const T*>(rows.data) + start * rows.stride;
  for (std::int64_t at = 0; at < count; at += together) {
    const char* next[kBucketRows];
    float norms[kBucketRows], gaps[kBucketRows];
    std::int32_t labels[kBucketRows];
    const std::int64_t here = count - at < together ? count - at : together;
    for (std::int64_t r = 0; r < here; r += kRowsAtOnce) {
      const T* row[kRowsAtOnce];
      for (std::int64_t i = 0; i < kRowsAtOnce; ++i) {
        const std::int64_t index = at + (r + i < here ? r + i : r);
        const std::int64_t later = index + together < count ? index + together : count - 1;
        row[i] = x + active[index] * rows.stride;
        next[r + i] = reinterpret_cast<const char*>(x + active[later] * rows.stride);
      }
      stage(row, next + r, rows.d, frame, scratch.rows + r * frame.pitch, norms + r);
    }
    if (pass.assign) {
      for (std::int64_t r = 0; r < here; ++r) out->squares += static_cast<double>(norms[r]);
      assign(scratch.rows, norms, here, frame, pass.centroids, next, sizeof(T), labels, gaps);
    }
    for (std::int64_t r = 0; r < here; ++r) {
      const float* z = scratch.rows + r * frame.pitch;
      std::int32_t& label = pass.labels[start + active[at + r]];
      if (!pass.assign) {
        add(z, 1.0f, frame.depth, scratch.block + label * frame.pitch);
        continue;
      }
      pass.gaps[start + active[at + r]] = gaps[r];
      if (label == labels[r]) continue;
      if (label >= 0) add(z, -1.0f, frame.depth, scratch.block + label * frame.pitch);
      label = labels[r];
      add(z, 1.0f, frame.depth, scratch.block + label * frame.pitch);
    }
  }
}

template <class T>
void lloyd_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame, const LloydPass& pass,
                const LloydScratch& scratch, LloydSums* out) {
  constexpr std::int64_t kSpan = 512;                                   // rows whose sums are fp32
  constexpr std::int64_t kFewCentroids = 1 << 16, kManyRows = 1 << 17;  // floats
  const std::int64_t k = pass.centroids.k;
  // A few centroids stay in the cache next to four rows. Many do not: they meet as many rows as stay in L2.
  const std::int64_t fit = kManyRows / frame.pitch / kRowsAtOnce * kRowsAtOnce;
  const std::int64_t bucket = fit < kRowsAtOnce ? kRowsAtOnce : fit < kBucketRows ? fit : kBucketRows;
  const std::int64_t together = k * frame.pitch <= kFewCentroids ? kRowsAtOnce : bucket;
  for (std::int64_t start = begin; start < end; start += kSpan) {
    const std::int64_t stop = start + kSpan < end ? start + kSpan : end;
    std::int32_t active[kSpan];
    std::int64_t count = 0;
    for (std::int64_t r = start; r < stop; ++r) {
      if (!pass.assign || may_change(pass, r)) active[count++] = static_cast<std::int32_t>(r - start);
    }
    move_rows<T>(rows, start, active, count, together, frame, pass, scratch, out);
    for (std::int64_t r = start; r < stop; ++r) ++out->counts[pass.labels[r]];
    if (count > 0) flush(frame, k, rows.d, scratch.block, out->sums);
  }
}

template <class T>
void spread_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame, const Centroids& centroids,
                 const std::int32_t* labels, float* out, double* inertia) {
  const T* x = static_cast<const T*>(rows.data);
  const Vector scale = splat(frame.scale);
  for (std::int64_t r = begin; r < end; r += kRowsAtOnce) {
    const std::int64_t count = end - r < kRowsAtOnce ? end - r : kRowsAtOnce;
    const T* row[kRowsAtOnce];
    const float* centroid[kRowsAtOnce];
    for (std::int64_t i = 0; i < kRowsAtOnce; ++i) {
      const std::int64_t index = r + (i < count ? i : 0);
      row[i] = x + index * rows.stride;
      centroid[i] = centroids.values + labels[index] * frame.pitch;
    }
    Vector total[kRowsAtOnce] = {};
    for (std::int64_t j = 0; j < frame.depth; j += kLanes) {
      const Vector shift = load(frame.shift + j);
#pragma GCC unroll 4
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const Vector a = (j + kLanes <= rows.d ? load(row[i] + j) : load_part(row[i] + j, rows.d - j)) * scale - shift;
        const Vector difference = a - load(centroid[i] + j);
        total[i] = difference * difference + total[i];
      }
    }
    const Four squared = sums(total[0], total[1], total[2], total[3]);
    for (std::int64_t i = 0; i < count; ++i) {
      *inertia += static_cast<double>(squared[i]);
      if (out) out[r + i] = squared[i];
    }
  }
}
