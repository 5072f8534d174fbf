#pragma once

// A pass of Lloyd's algorithm: labels, sums of the rows of each cluster and distances, bucket by bucket while its rows
// are in the cache. Include inside an anonymous namespace.
#include "cpu/dots.inl"

// The rows of a bucket: `count` of them, and how far those that were read went.
struct Bucket {
  float* z;                  // [kBucketRows][pitch]
  float norms[kBucketRows];  // squared
  std::int32_t* labels;
  std::int64_t count;
};

// Reads four rows: interleaved, which memory serves faster than one after the other.
template <class T>
inline void stage(const T* const* row, std::int64_t d, const Frame& frame, float* z, float* norms) {
  const Vector scale = splat(frame.scale);
  Vector squares[kRowsAtOnce] = {};
  for (std::int64_t j = 0; j < frame.depth; j += kLanes) {
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

inline float squared_distance(const float* a, const float* b, std::int64_t depth) {
  Vector s0{}, s1{};
  std::int64_t j = 0;
  for (; j + 2 * kLanes <= depth; j += 2 * kLanes) {
    const Vector u = load(a + j) - load(b + j), v = load(a + j + kLanes) - load(b + j + kLanes);
    s0 = u * u + s0;
    s1 = v * v + s1;
  }
  for (; j < depth; j += kLanes) {
    const Vector u = load(a + j) - load(b + j);
    s0 = u * u + s0;
  }
  return sum(s0 + s1);
}

// The best two of the scores |c|^2 / 2 - <z, c> of four rows.
struct Best {
  Four first, second;
  FourInts label;
};

template <int count>
inline void compare(const float* const* z, const Frame& frame, const LloydPass& pass, std::int64_t from, Best* best,
                    const char* const* next, std::int64_t size) {
  Four dot[count];
  if (next) {
    dots<count, true>(z, pass.centroids + from * frame.pitch, frame.pitch, frame.depth, dot, next, size);
  } else {
    dots<count, false>(z, pass.centroids + from * frame.pitch, frame.pitch, frame.depth, dot, next, size);
  }
  for (int q = 0; q < count; ++q) {
    const float half = pass.halves[from + q];
    const Four score = Four{half, half, half, half} - dot[q];
    const auto label = static_cast<std::int32_t>(from + q);
    const FourInts better = score < best->first;
    const Four loser = better ? best->first : score;
    best->second = loser < best->second ? loser : best->second;
    best->first = better ? score : best->first;
    best->label = better ? FourInts{label, label, label, label} : best->label;
  }
}

// The nearest centroid, from the differences: for a row whose best two scores are closer than their rounding errors.
__attribute__((noinline)) inline std::int32_t nearest_exactly(const float* z, const Frame& frame,
                                                              const LloydPass& pass) {
  std::int32_t label = 0;
  float least = __builtin_inff();
  for (std::int64_t c = 0; c < pass.k; ++c) {
    const float distance = squared_distance(z, pass.centroids + c * frame.pitch, frame.depth);
    if (distance < least) {
      least = distance;
      label = static_cast<std::int32_t>(c);
    }
  }
  return label;
}

// Rows [at, at + rows) of a bucket get their labels, all meeting a few centroids before the next few: those stay in L1.
inline void assign(const Bucket& bucket, std::int64_t at, std::int64_t rows, const Frame& frame, const LloydPass& pass,
                   const char* const* next, std::int64_t size) {
  constexpr float kInfinity = __builtin_inff();
  Best best[kBucketRows / kRowsAtOnce];
  for (std::int64_t t = 0; t < rows; t += kRowsAtOnce) {
    best[t / kRowsAtOnce] = {Four{} + kInfinity, Four{} + kInfinity, FourInts{}};
  }
  const std::int64_t groups = (pass.k + kMostAtOnce - 1) / kMostAtOnce;
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t from = pass.k * group / groups, width = pass.k * (group + 1) / groups - from;
    for (std::int64_t t = 0; t < rows; t += kRowsAtOnce) {
      const float* z[kRowsAtOnce];
      for (int i = 0; i < kRowsAtOnce; ++i) z[i] = bucket.z + (at + t + i) * frame.pitch;
      Best* row_best = best + t / kRowsAtOnce;
      const char* const* fetch = group == 0 ? next + t : nullptr;
      switch (width) {
        case 1:
          compare<1>(z, frame, pass, from, row_best, fetch, size);
          break;
        case 2:
          compare<2>(z, frame, pass, from, row_best, fetch, size);
          break;
#if defined(__AVX512F__) || defined(__aarch64__)
        case 3:
          compare<3>(z, frame, pass, from, row_best, fetch, size);
          break;
        case 4:
          compare<4>(z, frame, pass, from, row_best, fetch, size);
          break;
        case 5:
          compare<5>(z, frame, pass, from, row_best, fetch, size);
          break;
#endif
      }
    }
  }
  // The error of a dot product of m terms in each lane is about sqrt(m) 2^-25 of the product of the norms; ten times.
  const float chain = static_cast<float>(frame.depth / kLanes);
  const float slack = 0x1p-22f * (2.0f + __builtin_sqrtf(chain)) * pass.longest;
  for (std::int64_t r = 0; r < rows && at + r < bucket.count; ++r) {
    const Best& found = best[r / kRowsAtOnce];
    const int i = static_cast<int>(r % kRowsAtOnce);
    const float doubt = slack * (__builtin_sqrtf(bucket.norms[at + r]) + pass.longest);
    const bool sure = found.second[i] - found.first[i] > doubt;
    bucket.labels[at + r] =
        sure || pass.k == 1 ? found.label[i] : nearest_exactly(bucket.z + (at + r) * frame.pitch, frame, pass);
  }
}

// Adds columns [j, j + width * kLanes) of rows to the sums of their clusters. Rows of a cluster are neighbours in
// `order`, and their sums stay in registers.
template <int width>
inline void add_columns(const float* z, const std::int32_t* order, const std::int32_t* labels, std::int64_t count,
                        std::int64_t pitch, std::int64_t j, float* block) {
  for (std::int64_t at = 0; at < count;) {
    const std::int32_t label = labels[order[at]];
    float* sums = block + label * pitch + j;
    Vector total[width];
#pragma GCC unroll 4
    for (int v = 0; v < width; ++v) total[v] = load(sums + v * kLanes);
    for (; at < count && labels[order[at]] == label; ++at) {
      const float* row = z + order[at] * pitch + j;
#pragma GCC unroll 4
      for (int v = 0; v < width; ++v) total[v] += load(row + v * kLanes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < width; ++v) store(sums + v * kLanes, total[v]);
  }
}

inline void add(const Bucket& bucket, const Frame& frame, std::int64_t k, const LloydScratch& scratch) {
  std::int32_t order[kBucketRows];  // rows by label, those of one label in their order
  std::int32_t* run = scratch.run;
  for (std::int64_t c = 0; c <= k; ++c) run[c] = 0;
  for (std::int64_t r = 0; r < bucket.count; ++r) ++run[bucket.labels[r] + 1];
  for (std::int64_t c = 0; c < k; ++c) run[c + 1] += run[c];
  for (std::int64_t r = 0; r < bucket.count; ++r) order[run[bucket.labels[r]]++] = static_cast<std::int32_t>(r);
  std::int64_t j = 0;
  for (; j + 4 * kLanes <= frame.depth; j += 4 * kLanes) {
    add_columns<4>(bucket.z, order, bucket.labels, bucket.count, frame.pitch, j, scratch.block);
  }
  for (; j < frame.depth; j += kLanes) {
    add_columns<1>(bucket.z, order, bucket.labels, bucket.count, frame.pitch, j, scratch.block);
  }
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

// Rows in a bucket: as many as let its rows, and those that come next, stay in L2.
inline std::int64_t bucket_rows(std::int64_t pitch) {
  constexpr std::int64_t kFloats = 1 << 17;
  const std::int64_t fit = kFloats / pitch / kRowsAtOnce * kRowsAtOnce;
  return fit < kRowsAtOnce ? kRowsAtOnce : fit < kBucketRows ? fit : kBucketRows;
}

template <class T>
void lloyd_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame, const LloydPass& pass,
                const LloydScratch& scratch, LloydSums* out) {
  constexpr std::int64_t kFlushRows = 512, kFewCentroids = 1 << 16;  // floats
  const T* x = static_cast<const T*>(rows.data);
  const std::int64_t most = bucket_rows(frame.pitch);
  // A few centroids stay in the cache next to four rows. Many do not: then all rows of a bucket meet them by turns.
  const std::int64_t together = pass.k * frame.pitch <= kFewCentroids ? kRowsAtOnce : most;
  std::int64_t unflushed = 0;
  for (std::int64_t start = begin; start < end; start += most) {
    Bucket bucket{scratch.rows, {}, pass.labels + start, end - start < most ? end - start : most};
    for (std::int64_t at = 0; at < bucket.count; at += together) {
      const char* next[kBucketRows];
      const std::int64_t here = (bucket.count - at < together ? bucket.count - at : together);
      const std::int64_t padded = (here + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce;
      for (std::int64_t r = 0; r < padded; r += kRowsAtOnce) {
        const T* row[kRowsAtOnce];
        for (int i = 0; i < kRowsAtOnce; ++i) {
          const std::int64_t index = start + at + (r + i < here ? r + i : r);
          row[i] = x + index * rows.stride;
          next[r + i] =
              reinterpret_cast<const char*>(index + together < end ? row[i] + together * rows.stride : row[i]);
        }
        stage(row, rows.d, frame, bucket.z + (at + r) * frame.pitch, bucket.norms + at + r);
      }
      for (std::int64_t r = 0; r < here; ++r) out->squares += static_cast<double>(bucket.norms[at + r]);
      if (pass.assign) assign(bucket, at, padded, frame, pass, next, sizeof(T));
    }
    if (pass.assign || pass.add) {
      for (std::int64_t r = 0; r < bucket.count; ++r) ++out->counts[bucket.labels[r]];
    }
    if (pass.spread) {
      for (std::int64_t r = 0; r < bucket.count; ++r) {
        const float* centroid = pass.centroids + bucket.labels[r] * frame.pitch;
        const float distance = squared_distance(bucket.z + r * frame.pitch, centroid, frame.depth);
        out->inertia += static_cast<double>(distance);
        if (pass.distances) pass.distances[start + r] = distance;
      }
    }
    if (!pass.add) continue;
    add(bucket, frame, pass.k, scratch);
    unflushed += bucket.count;
    if (unflushed < kFlushRows && start + most < end) continue;
    flush(frame, pass.k, rows.d, scratch.block, out->sums);
    unflushed = 0;
  }
}
