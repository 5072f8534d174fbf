#include "cpu/cluster_means.hpp"

#include <algorithm>
#include <numeric>

#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

constexpr std::int64_t kPieceRows = 4096;
constexpr std::int64_t kRowsAtOnce = 64;

// Positions [begin, end) of a cluster: a job of work whose size does not depend on the number of threads.
struct Piece {
  std::int64_t cluster, begin, end;
};

std::vector<Piece> pieces_of(const Clusters& clusters) {
  std::vector<Piece> pieces;
  for (std::int64_t c = 0; c < clusters.count(); ++c) {
    const std::int64_t stop = clusters.begin[static_cast<std::size_t>(c + 1)];
    for (std::int64_t p = clusters.begin[static_cast<std::size_t>(c)]; p < stop; p += kPieceRows) {
      pieces.push_back({c, p, std::min(p + kPieceRows, stop)});
    }
  }
  return pieces;
}

// Each as a sum of two floats.
struct SplitCentres {
  std::vector<float> high, low;

  explicit SplitCentres(const std::vector<double>& centres)
      : high(centres.begin(), centres.end()), low(centres.size()) {
    for (std::size_t j = 0; j < centres.size(); ++j)
      low[j] = static_cast<float>(centres[j] - static_cast<double>(high[j]));
  }
  Centres view(std::int64_t first, std::int64_t count, std::int64_t d) const {
    return {high.data() + first * d, low.data() + first * d, count, d};
  }
};

// Of each position, the squared distance of its row to the centre of its cluster.
std::vector<float> own_distances(const Kernels& kernels, const Points& points, const Clusters& clusters,
                                 const SplitCentres& centres, int threads) {
  const SquaredDistances squared_distances = kernels.squared_distances[static_cast<int>(points.element())];
  const std::vector<Piece> pieces = pieces_of(clusters);
  std::vector<float> distances(static_cast<std::size_t>(clusters.n()));
  parallel_for(static_cast<std::int64_t>(pieces.size()), threads,
               [&, buffer = std::vector<float>()](std::int64_t index) mutable {
                 const Piece& piece = pieces[static_cast<std::size_t>(index)];
                 const Centres own = centres.view(piece.cluster, 1, points.d());
                 buffer.resize(static_cast<std::size_t>(points.d()));
                 const void* rows[kRowsAtOnce];
                 float scale[kRowsAtOnce];
                 double squared[kRowsAtOnce];
                 for (std::int64_t p = piece.begin; p < piece.end; p += kRowsAtOnce) {
                   const std::int64_t count = std::min(kRowsAtOnce, piece.end - p);
                   points.gather(clusters.order.data() + p, count, rows, scale);
                   squared_distances(rows, count, scale, own, buffer.data(), squared);
                   std::copy_n(squared, count, distances.begin() + p);
                 }
               });
  return distances;
}

// Sums by cluster of what each position has, in the order of the positions.
std::vector<double> sums_of(const std::vector<float>& values, const Clusters& clusters) {
  std::vector<double> sums(static_cast<std::size_t>(clusters.count()));
  for (std::size_t c = 0; c < sums.size(); ++c) {
    sums[c] = std::accumulate(values.begin() + clusters.begin[c], values.begin() + clusters.begin[c + 1], 0.0);
  }
  return sums;
}

// The means of the scaled rows, in which each position has a weight; null for 1.
std::vector<double> weighted_means(const Kernels& kernels, const Points& points, const Clusters& clusters,
                                   const std::vector<float>* weights, int threads) {
  const auto d = static_cast<std::size_t>(points.d());
  const std::vector<Piece> pieces = pieces_of(clusters);
  std::vector<double> means(static_cast<std::size_t>(clusters.count()) * d);
  std::vector<std::vector<double>> later(pieces.size());  // of pieces that are not the first of their cluster
  const AddRows add_rows = kernels.add_rows[static_cast<int>(points.element())];
  const auto is_first = [&](const Piece& piece) {
    return piece.begin == clusters.begin[static_cast<std::size_t>(piece.cluster)];
  };
  parallel_for(static_cast<std::int64_t>(pieces.size()), threads, [&](std::int64_t index) {
    const Piece& piece = pieces[static_cast<std::size_t>(index)];
    double* sum = means.data() + static_cast<std::size_t>(piece.cluster) * d;
    if (!is_first(piece)) {
      later[static_cast<std::size_t>(index)].resize(d);
      sum = later[static_cast<std::size_t>(index)].data();
    }
    const void* rows[kRowsAtOnce];
    float scale[kRowsAtOnce];
    for (std::int64_t p = piece.begin; p < piece.end; p += kRowsAtOnce) {
      const std::int64_t count = std::min(kRowsAtOnce, piece.end - p);
      points.gather(clusters.order.data() + p, count, rows, scale);
      for (std::int64_t i = 0; weights && i < count; ++i) scale[i] *= (*weights)[static_cast<std::size_t>(p + i)];
      add_rows(rows, count, scale, points.d(), sum);
    }
  });
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (is_first(pieces[i])) continue;
    double* sum = means.data() + static_cast<std::size_t>(pieces[i].cluster) * d;
    for (std::size_t j = 0; j < d; ++j) sum[j] += later[i][j];
  }
  const std::vector<double> total = weights ? sums_of(*weights, clusters) : std::vector<double>();
  for (std::int64_t c = 0; c < clusters.count(); ++c) {
    double* mean = means.data() + static_cast<std::size_t>(c) * d;
    const double size = weights ? total[static_cast<std::size_t>(c)] : static_cast<double>(clusters.size(c));
    for (std::size_t j = 0; j < d; ++j) mean[j] /= size;
  }
  return means;
}

// The weight of a row at some squared distance, where the mean squared distance is `mean`.
double weight_of(double distance, double mean) { return mean > 0.0 ? mean / (distance + 1e-3 * mean) : 1.0; }

constexpr int kReweightings = 2;

}  // namespace

std::vector<double> cluster_means(const Kernels& kernels, const Points& points, const Clusters& clusters, int threads) {
  return weighted_means(kernels, points, clusters, nullptr, threads);
}

std::vector<double> cluster_centres(const Kernels& kernels, const Points& points, const Clusters& clusters,
                                    int threads) {
  constexpr double kFar = 32.0;  // so many times the mean squared distance
  std::vector<double> centres = cluster_means(kernels, points, clusters, threads);
  for (int step = 0; step < kReweightings; ++step) {
    std::vector<float> weights = own_distances(kernels, points, clusters, SplitCentres(centres), threads);
    const std::vector<double> sums = sums_of(weights, clusters);
    bool far = false;
    for (std::int64_t c = 0; c < clusters.count(); ++c) {
      const double mean = sums[static_cast<std::size_t>(c)] / static_cast<double>(clusters.size(c));
      for (std::int64_t p = clusters.begin[static_cast<std::size_t>(c)];
           p < clusters.begin[static_cast<std::size_t>(c + 1)]; ++p) {
        float& value = weights[static_cast<std::size_t>(p)];
        far = far || static_cast<double>(value) > kFar * mean;
        value = static_cast<float>(weight_of(static_cast<double>(value), mean));
      }
    }
    if (!far) break;
    centres = weighted_means(kernels, points, clusters, &weights, threads);
  }
  return centres;
}

std::vector<double> middle_of(const std::vector<double>& centres, const Clusters& clusters) {
  const auto k = static_cast<std::size_t>(clusters.count());
  const std::size_t d = centres.size() / k;
  std::vector<double> weights(k), middle;
  for (std::size_t c = 0; c < k; ++c) weights[c] = static_cast<double>(clusters.size(static_cast<std::int64_t>(c)));
  for (int step = 0;; ++step) {
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    middle.assign(d, 0.0);
    for (std::size_t c = 0; c < k; ++c) {
      for (std::size_t j = 0; j < d; ++j) middle[j] += weights[c] / total * centres[c * d + j];
    }
    if (step == kReweightings) return middle;
    std::vector<double> distances(k);
    double mean = 0.0;
    for (std::size_t c = 0; c < k; ++c) {
      for (std::size_t j = 0; j < d; ++j)
        distances[c] += (centres[c * d + j] - middle[j]) * (centres[c * d + j] - middle[j]);
      mean += static_cast<double>(clusters.size(static_cast<std::int64_t>(c))) * distances[c];
    }
    mean /= static_cast<double>(clusters.n());
    for (std::size_t c = 0; c < k; ++c) {
      weights[c] = static_cast<double>(clusters.size(static_cast<std::int64_t>(c))) * weight_of(distances[c], mean);
    }
  }
}

std::vector<double> squared_distance_sums(const Kernels& kernels, const Points& points, const Clusters& clusters,
                                          const std::vector<std::int64_t>* left, int threads) {
  const auto k = static_cast<std::size_t>(clusters.count());
  const auto d = static_cast<std::size_t>(points.d());
  const SplitCentres means(cluster_means(kernels, points, clusters, threads));
  const std::vector<double> spread = sums_of(own_distances(kernels, points, clusters, means, threads), clusters);
  const SquaredDistances squared_distances = kernels.squared_distances[static_cast<int>(points.element())];
  const std::int64_t count = left ? static_cast<std::int64_t>(left->size()) : clusters.n();
  std::vector<double> sums(static_cast<std::size_t>(count) * k);
  const Centres all = means.view(0, clusters.count(), points.d());
  const std::int64_t jobs = (count + kRowsAtOnce - 1) / kRowsAtOnce;
  parallel_for(jobs, threads, [&, buffer = std::vector<float>()](std::int64_t job) mutable {
    const std::int64_t first = job * kRowsAtOnce, some = std::min(kRowsAtOnce, count - first);
    std::int64_t indices[kRowsAtOnce];
    const void* rows[kRowsAtOnce];
    float scale[kRowsAtOnce];
    for (std::int64_t i = 0; i < some; ++i) {
      const std::int64_t position = left ? (*left)[static_cast<std::size_t>(first + i)] : first + i;
      indices[i] = clusters.order[static_cast<std::size_t>(position)];
    }
    points.gather(indices, some, rows, scale);
    buffer.resize(d);
    double* out = sums.data() + static_cast<std::size_t>(first) * k;
    squared_distances(rows, some, scale, all, buffer.data(), out);
    for (std::int64_t i = 0; i < some; ++i, out += k) {
      for (std::size_t c = 0; c < k; ++c) {
        out[c] = static_cast<double>(clusters.size(static_cast<std::int64_t>(c))) * out[c] + spread[c];
      }
    }
  });
  return sums;
}

}  // namespace dataprophet::cpu
