#include "cpu/kmeans.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "cpu/framed_rows.hpp"
#include "cpu/mean_direction.hpp"
#include "cpu/plus_plus.hpp"

namespace dataprophet::cpu {
namespace {

constexpr double kRounding = 0x1p-30;  // of a squared length: what fp32 sums of equal rows leave them off their mean

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

// The cut of Chunks, but the sums that each chunk keeps never outweigh its rows.
Chunks chunks_of(std::int64_t n, std::int64_t d, std::int64_t k) {
  Chunks chunks(n, d);
  chunks.rows = std::max(chunks.rows, 8 * k);
  chunks.count = (n + chunks.rows - 1) / chunks.rows;
  return chunks;
}

// A power of two that brings the largest value near 1, so that no square overflows and not all of them vanish.
float scale_for(std::uint32_t largest_bits) {
  float largest;
  static_assert(sizeof largest == sizeof largest_bits);
  std::memcpy(&largest, &largest_bits, sizeof largest);
  return largest == 0.0f ? 1.0f : std::ldexp(1.0f, std::clamp(-std::ilogb(largest), -126, 126));
}

// mean[d] of the rows times the frame's scale; `largest` takes the bits of their largest magnitude.
BadRows mean_of(const FramedRows& points, std::vector<double>* mean, std::uint32_t* largest) {
  const std::int64_t d = points.rows.d;
  std::vector<std::vector<double>> sums(size(points.chunks.count));
  std::vector<std::uint32_t> most(size(points.chunks.count), 0);
  std::vector<BadRows> bad(size(points.chunks.count));
  parallel_for(points.chunks.count, points.threads, [&](std::int64_t chunk) {
    std::vector<float> block(size(d));
    sums[size(chunk)].assign(size(d), 0.0);
    points.kernels.sum_rows[points.type()](points.rows, points.chunks.begin(chunk), points.chunks.end(chunk),
                                           points.frame.scale, block.data(), sums[size(chunk)].data(),
                                           &most[size(chunk)], &bad[size(chunk)]);
  });
  mean->assign(size(d), 0.0);
  for (const std::vector<double>& part : sums) {
    for (std::size_t j = 0; j < mean->size(); ++j) (*mean)[j] += part[j];
  }
  for (double& value : *mean) value /= static_cast<double>(points.n);
  *largest = *std::max_element(most.begin(), most.end());
  BadRows total;
  for (const BadRows& part : bad) merge(&total, part);
  return total;
}

// Lloyd's iterations in a frame. Centroids are offsets from its shift.
class Lloyd {
 public:
  Lloyd(const FramedRows& points, std::int64_t k)
      : points_(points),
        k_(k),
        d_(points.rows.d),
        offsets_(size(k * d_)),
        sums_(size(k * d_)),
        parts_(size(points.chunks.count)),
        counts_(size(k)),
        labels_(size(points.n), -1),
        gaps_(size(points.n)),
        halves_(size(k)),
        moves_(size(k)),
        packed_(zeros<float>(k * points.frame.pitch)) {}

  double& offset(std::int64_t cluster, std::int64_t column) { return offsets_[size(cluster * d_ + column)]; }
  const std::vector<std::int32_t>& labels() const { return labels_; }

  // Labels rows by the nearest centroid and adds up the clusters. Returns whether a label changed.
  bool assign() {
    previous_ = labels_;
    pack();
    pass(true);
    relocated_ = false;
    if (std::find(counts_.begin(), counts_.end(), 0) != counts_.end()) {
      fill_empty();
      pass(false);
    }
    return labels_ != previous_;
  }

  // Whether the last assign() moved an empty cluster to a row that was away from its centroid by more than rounding.
  bool relocated() const { return relocated_; }

  // Moves the centroids to the means of their clusters, and returns the sum of squares of the shift.
  double move() {
    double shift = 0.0;
    for (std::int64_t c = 0; c < k_; ++c) {
      for (std::int64_t j = 0; j < d_; ++j) {
        const double mean = sums_[size(c * d_ + j)] / static_cast<double>(counts_[size(c)]);
        shift += (mean - offset(c, j)) * (mean - offset(c, j));
        offset(c, j) = mean;
      }
    }
    return shift;
  }

  // Mean variance of the columns, after the first assign().
  double variance() const {
    double squares = squares_;
    for (std::int64_t j = 0; j < d_; ++j) {
      double sum = 0.0;
      for (std::int64_t c = 0; c < k_; ++c) sum += sums_[size(c * d_ + j)];
      squares -= sum * sum / static_cast<double>(points_.n);
    }
    return d_ == 0 ? 0.0 : std::max(squares, 0.0) / static_cast<double>(points_.n) / static_cast<double>(d_);
  }

  // The centroids in fp32, as the kernels read them, and how far they moved.
  void pack() {
    constexpr double kMost = std::numeric_limits<float>::max();
    double longest = 0.0;
    for (std::int64_t c = 0; c < k_; ++c) {
      double squares = 0.0, moved = 0.0;
      for (std::int64_t j = 0; j < d_; ++j) {
        float& value = packed_[size(c * points_.frame.pitch + j)];
        const double before = value;
        value = static_cast<float>(std::clamp(offset(c, j), -kMost, kMost));
        moved += (value - before) * (value - before);
        squares += static_cast<double>(value) * static_cast<double>(value);
      }
      longest = std::max(longest, squares);
      moves_[size(c)] = static_cast<float>(std::min(std::sqrt(moved), kMost));
      // A first centroid that is out of range is no row's nearest.
      halves_[size(c)] =
          0.5 * squares > kMost ? std::numeric_limits<float>::infinity() : static_cast<float>(0.5 * squares);
    }
    longest_ = static_cast<float>(std::min(std::sqrt(longest), kMost));
  }

  // Sum of the squared distances to the packed centroids; those of each row unless `distances` is null.
  double inertia(float* distances) const {
    std::vector<double> parts(size(points_.chunks.count), 0.0);
    parallel_for(points_.chunks.count, points_.threads, [&](std::int64_t chunk) {
      points_.kernels.spread_rows[points_.type()](points_.rows, points_.chunks.begin(chunk), points_.chunks.end(chunk),
                                                  points_.frame, centroids(), labels_.data(), distances,
                                                  &parts[size(chunk)]);
    });
    double total = 0.0;
    for (const double part : parts) total += part;
    return total;
  }

 private:
  struct Scratch {
    Aligned<float> rows, block;
  };

  Centroids centroids() const { return {packed_.get(), halves_.data(), longest_, k_}; }

  void pass(bool assign) {
    const auto most = std::max_element(moves_.begin(), moves_.end()) - moves_.begin();
    float second = 0.0f;
    for (std::int64_t c = 0; c < k_; ++c) second = c == most ? second : std::max(second, moves_[size(c)]);
    const LloydPass job{centroids(), labels_.data(), gaps_.data(), moves_.data(), static_cast<std::int32_t>(most),
                        second,      assign};
    const std::int64_t chunks = points_.chunks.count;
    std::vector<LloydSums> found(size(chunks));
    std::vector<std::vector<std::int64_t>> counts(size(chunks));
    parallel_for(chunks, points_.threads, [&](std::int64_t chunk) {
      const std::size_t at = size(chunk);
      if (!assign || parts_[at].empty()) parts_[at].assign(size(k_ * d_), 0.0);
      counts[at].assign(size(k_), 0);
      found[at] = {parts_[at].data(), counts[at].data(), 0.0};
      Scratch scratch = take_scratch();
      points_.kernels.lloyd_rows[points_.type()](points_.rows, points_.chunks.begin(chunk), points_.chunks.end(chunk),
                                                 points_.frame, job, {scratch.rows.get(), scratch.block.get()},
                                                 &found[at]);
      give_scratch(std::move(scratch));
    });

    if (assign) squares_ = 0.0;
    for (const LloydSums& part : found) squares_ += part.squares;
    std::fill(counts_.begin(), counts_.end(), 0);
    for (const std::vector<std::int64_t>& part : counts) {
      for (std::size_t c = 0; c < part.size(); ++c) counts_[c] += part[c];
    }
    std::fill(sums_.begin(), sums_.end(), 0.0);
    for (const std::vector<double>& part : parts_) {
      for (std::size_t i = 0; i < part.size(); ++i) sums_[i] += part[i];
    }
  }

  // Each empty cluster moves to the row that is farthest from its centroid, of those that are not alone; the lowest of
  // equals.
  void fill_empty() {
    const Aligned<float> place = zeros<float>(points_.frame.pitch);
    std::vector<float> distances(size(points_.n));
    inertia(distances.data());
    const auto nearer = [&](std::int64_t a, std::int64_t b) {
      const float first = distances[size(a)], second = distances[size(b)];
      return first < second || (first == second && a > b);
    };
    std::vector<std::int64_t> farthest(size(points_.n));
    for (std::size_t i = 0; i < farthest.size(); ++i) farthest[i] = static_cast<std::int64_t>(i);
    std::make_heap(farthest.begin(), farthest.end(), nearer);
    for (std::int64_t empty = 0; empty < k_; ++empty) {
      while (counts_[size(empty)] == 0) {
        // A row that is alone now stays alone: it need not be looked at again.
        std::pop_heap(farthest.begin(), farthest.end(), nearer);
        const std::int64_t row = farthest.back();
        farthest.pop_back();
        std::int32_t& label = labels_[size(row)];
        if (counts_[size(label)] == 1) continue;
        --counts_[size(label)];
        ++counts_[size(empty)];
        label = static_cast<std::int32_t>(empty);
        gaps_[size(row)] = -1.0f;
        points_.kernels.read_row[points_.type()](points_.rows, row, points_.frame, place.get());
        double squares = 0.0;
        for (std::int64_t j = 0; j < d_; ++j) {
          offset(empty, j) = place[size(j)];
          squares += offset(empty, j) * offset(empty, j);
        }
        relocated_ = relocated_ || distances[size(row)] > kRounding * squares;
      }
    }
  }

  Scratch take_scratch() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (scratch_.empty()) {
      return {zeros<float>(kBucketRows * points_.frame.pitch), zeros<float>(k_ * points_.frame.pitch)};
    }
    Scratch scratch = std::move(scratch_.back());
    scratch_.pop_back();
    return scratch;
  }

  void give_scratch(Scratch scratch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    scratch_.push_back(std::move(scratch));
  }

  const FramedRows& points_;
  std::int64_t k_, d_;
  std::vector<double> offsets_, sums_;
  std::vector<std::vector<double>> parts_;  // sums by chunk
  std::vector<std::int64_t> counts_;
  std::vector<std::int32_t> labels_, previous_;
  std::vector<float> gaps_, halves_, moves_;
  Aligned<float> packed_;
  float longest_ = 0.0f;
  double squares_ = 0.0;
  bool relocated_ = false;
  std::mutex mutex_;
  std::vector<Scratch> scratch_;
};

}  // namespace

KMeansResult kmeans(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n,
                    const KMeansOptions& options, float* centroids, std::int64_t* labels) {
  // An odd number of cache lines from row to row: rows 4096 bytes apart would compete for a few places of L1.
  const std::int64_t lines = std::max<std::int64_t>(1, (rows.d + 15) / 16), pitch = (lines | 1) * 16;
  const Aligned<float> shift = zeros<float>(pitch);
  const std::int64_t bytes = n * rows.d * (element == Element::f32 ? 4 : 2);
  FramedRows points{kernels,
                    element,
                    rows,
                    n,
                    chunks_of(n, rows.d, options.k),
                    useful_threads(options.threads, bytes),
                    {shift.get(), 1.0f, lines * 16, pitch}};

  KMeansResult result;
  std::vector<double> mean;
  std::uint32_t largest = 0;
  result.bad = mean_of(points, &mean, &largest);
  if (result.bad.nonfinite > 0) return result;
  const float scale = scale_for(largest);
  points.frame.scale = scale;
  if (scale < 0x1p-100f) {  // sums of values this large may have left the range of fp32
    mean_of(points, &mean, &largest);
  } else {
    for (double& value : mean) value *= scale;
  }
  for (std::int64_t j = 0; j < rows.d; ++j) shift[size(j)] = static_cast<float>(mean[size(j)]);

  const std::int64_t k = options.k;
  Lloyd lloyd(points, k);
  if (options.init) {
    for (std::int64_t c = 0; c < k; ++c) {
      for (std::int64_t j = 0; j < rows.d; ++j) {
        lloyd.offset(c, j) = options.init[c * rows.d + j] * scale - static_cast<double>(shift[size(j)]);
      }
    }
  } else {
    const std::vector<std::int64_t> seeds = plus_plus(points, k, options.draws);
    const Aligned<float> zero = zeros<float>(pitch), row = zeros<float>(pitch);
    const Frame unshifted{zero.get(), scale, points.frame.depth, pitch};
    for (std::int64_t c = 0; c < k; ++c) {
      kernels.read_row[points.type()](rows, seeds[size(c)], unshifted, row.get());
      for (std::int64_t j = 0; j < rows.d; ++j) {
        lloyd.offset(c, j) = static_cast<double>(row[size(j)]) - static_cast<double>(shift[size(j)]);
      }
    }
  }

  lloyd.assign();
  const double threshold = options.tolerance * lloyd.variance();
  while (result.n_iter < options.max_iter) {
    ++result.n_iter;
    const double shifted = lloyd.move();
    const bool changed = lloyd.assign();
    if (!lloyd.relocated() && (!changed || shifted <= threshold)) break;
  }
  lloyd.pack();  // clusters that were empty have moved
  result.inertia = lloyd.inertia(nullptr) / scale / scale;
  for (std::int64_t c = 0; c < k; ++c) {
    for (std::int64_t j = 0; j < rows.d; ++j) {
      const double value = lloyd.offset(c, j) + static_cast<double>(shift[size(j)]);
      centroids[c * rows.d + j] = static_cast<float>(value / scale);
    }
  }
  std::copy(lloyd.labels().begin(), lloyd.labels().end(), labels);
  return result;
}

}  // namespace dataprophet::cpu
