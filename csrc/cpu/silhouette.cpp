#include "cpu/silhouette.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "cpu/cluster_means.hpp"
#include "cpu/euclidean_sums.hpp"
#include "cpu/points.hpp"

namespace dataprophet::cpu {
namespace {

// Where in the order of the clusters each picked row stands, ascending, and its place in the output.
struct Left {
  std::vector<std::int64_t> positions, places;
};

Left left_of(const SilhouetteTask& task, const Clusters& clusters) {
  std::vector<std::int64_t> position_of(static_cast<std::size_t>(task.n));
  for (std::int64_t p = 0; p < task.n; ++p) {
    position_of[static_cast<std::size_t>(clusters.order[static_cast<std::size_t>(p)])] = p;
  }
  Left left;
  left.places.resize(static_cast<std::size_t>(task.count));
  std::iota(left.places.begin(), left.places.end(), 0);
  for (std::int64_t i = 0; i < task.count; ++i) {
    if (task.picked[i] < 0 || task.picked[i] >= task.n) throw std::invalid_argument("a picked row lies outside [0, n)");
  }
  const auto position = [&](std::int64_t place) { return position_of[static_cast<std::size_t>(task.picked[place])]; };
  std::sort(left.places.begin(), left.places.end(), [&](std::int64_t a, std::int64_t b) {
    return std::make_pair(position(a), a) < std::make_pair(position(b), b);
  });
  left.positions.reserve(left.places.size());
  for (const std::int64_t place : left.places) left.positions.push_back(position(place));
  return left;
}

// a and b of one row from its sums of distances to each cluster.
template <class Sum>
std::pair<double, double> means_of(const Sum* sums, const Clusters& clusters, std::int64_t own) {
  double inside = 0.0, outside = std::numeric_limits<double>::infinity();
  for (std::int64_t c = 0; c < clusters.count(); ++c) {
    const auto size = static_cast<double>(clusters.size(c));
    const auto sum = static_cast<double>(sums[c]);
    if (c != own) {
      outside = std::min(outside, sum / size);
    } else if (size > 1.0) {
      inside = sum / (size - 1.0);
    }
  }
  return {inside, outside};
}

}  // namespace

BadRows silhouettes(const Kernels& kernels, const SilhouetteTask& task, int threads) {
  const Scale scale = task.metric == Metric::cosine ? Scale::direction : Scale::common;
  const Points points(kernels, task.element, task.rows, task.n, scale, threads);
  if (points.bad().first >= 0) return points.bad();
  const Clusters clusters(task.labels, task.n, task.k);
  const bool all = task.picked == nullptr;
  const Left left = all ? Left{} : left_of(task, clusters);
  const std::vector<std::int64_t>* positions = all ? nullptr : &left.positions;
  const std::vector<std::int64_t>& places = all ? clusters.order : left.places;

  const auto write = [&](const auto* sums, double unit) {
    for (std::size_t i = 0; i < places.size(); ++i, sums += clusters.count()) {
      const std::int64_t own = clusters.cluster_at(all ? static_cast<std::int64_t>(i) : left.positions[i]);
      const auto [inside, outside] = means_of(sums, clusters, own);
      const double largest = std::max(inside, outside);
      const auto at = static_cast<std::size_t>(places[i]);
      task.scores[at] = clusters.size(own) > 1 && largest > 0.0 ? (outside - inside) / largest : 0.0;
      if (task.means) {
        task.means[2 * at] = inside * unit;
        task.means[2 * at + 1] = outside * unit;
      }
    }
  };
  if (task.metric == Metric::euclidean) {
    const FixedSums sums = euclidean_sums(kernels, points, clusters, positions, threads);
    write(sums.values.data(), sums.unit / points.unit());
  } else {
    // For unit vectors, 1 - cosine is half of the squared distance.
    const std::vector<double> sums = squared_distance_sums(kernels, points, clusters, positions, threads);
    write(sums.data(), scale == Scale::direction ? 0.5 : 1.0 / (points.unit() * points.unit()));
  }
  return {};
}

}  // namespace dataprophet::cpu
