#include "cuda/cluster_sums.hpp"
#include "cuda/distance_sums.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/panel.cuh"
#include "cuda/silhouette.hpp"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void round_to_float(const double* from, std::int64_t count, float* to) {
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i < count) to[i] = static_cast<float>(from[i]);
}

// squares[n][k] = squared distances to the means of the clusters.
template <class T, int V>
__global__ void __launch_bounds__(kPanelThreads, 2)
    squares_to_means(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const RowWeight* weights,
                     const float* shift, const float* centres, std::int64_t k, float* squares) {
  const std::int64_t first = panel_first_row(), cluster = blockIdx.y * std::int64_t{kPanel};
  if (first >= n) return;
  const std::int64_t count = min(k - cluster, std::int64_t{kPanel});
  float sums[kPanelRows][kPanel];
  squared_distances<kPanelRows, kPanel, V>(x, first, n, d, stride, weights, shift, centres + cluster * d, count, sums);
  const int lane = threadIdx.x % 32, p = lane % kPanel;
#pragma unroll
  for (int pair = 0; pair < kPanelRows / 2; ++pair) {
    const float sum = pair_sums(sums, pair);
    const std::int64_t row = first + pair * 2 + lane / kPanel;
    if (row < n && p < count) squares[row * k + cluster + p] = sum;
  }
}

// spreads[k] = the sum of the squared distances of a cluster's rows to its mean. A block for each cluster.
__global__ void add_spreads(const float* squares, Clusters clusters, double* spreads) {
  __shared__ double scratch[32];
  const std::int64_t cluster = blockIdx.x;
  double sum = 0.0;
  for (std::int64_t i = clusters.starts[cluster] + threadIdx.x; i < clusters.starts[cluster + 1]; i += kThreads) {
    sum += squares[clusters.order[i] * clusters.k + cluster];
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) spreads[cluster] = sum;
}

// Sums of distances of a row to all rows of a cluster: as distance_sums has added them up, or, for squared distances,
// size * squared distance to the mean + spread. Both in units of their own.
struct Sums {
  const FixedPoint* fixed;
  const float* squares;
  const double* spreads;
  std::int64_t k;
  __device__ double of(std::int64_t i, std::int64_t row, std::int64_t cluster, double size) const {
    if (fixed) return static_cast<double>(fixed[i * k + cluster]);
    return size * squares[row * k + cluster] + spreads[cluster];
  }
};

// `noise` is the largest mean distance that rounding leaves between equal rows; unit is that of `sums`.
__global__ void score(Sums sums, Clusters clusters, Picked picked, const RowWeight* weights, double unit, int power,
                      double noise, double* scores, double* means) {
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i >= picked.m) return;
  const std::int64_t row = clusters.order[picked.picked ? picked.picked[i] : i];
  const int own = clusters.labels[row];
  double inside = 0.0, outside = INFINITY, own_size = 0.0;
  for (std::int64_t cluster = 0; cluster < clusters.k; ++cluster) {
    const auto size = static_cast<double>(clusters.starts[cluster + 1] - clusters.starts[cluster]);
    const double sum = sums.of(i, row, cluster, size);
    if (cluster == own) {
      own_size = size;
      inside = size > 1.0 ? sum / (size - 1.0) : 0.0;
    } else {
      outside = fmin(outside, sum / size);
    }
  }
  if (inside <= noise) inside = 0.0;
  if (outside <= noise) outside = 0.0;
  const double largest = fmax(inside, outside);
  scores[i] = own_size > 1.0 && largest > 0.0 ? (outside - inside) / largest : 0.0;
  if (!means) return;
  for (int p = 0; p < power; ++p) unit /= weights[0].second;
  means[2 * i] = inside * unit;
  means[2 * i + 1] = outside * unit;
}

struct Layout {
  RowWeight* weights;
  unsigned* largest;
  ClusterSums all, each;
  double *mean, *means;
  float* shift;
  DistanceSums distances;
  float *centres, *squares;
  double* spreads;
  std::size_t bytes;
  Layout(void* base, std::int64_t n, std::int64_t d, std::int64_t k, Metric metric, std::int64_t m) {
    Workspace space(base);
    weights = space.take<RowWeight>(n);
    largest = space.take<unsigned>(1);
    all = ClusterSums(&space, n, d, 1);
    each = ClusterSums(&space, n, d, k);
    mean = space.take<double>(d);
    means = space.take<double>(k * d);
    shift = space.take<float>(d);
    if (metric == Metric::euclidean) {
      distances = DistanceSums(&space, n, d, k, m);
    } else {
      centres = space.take<float>(k * d);
      squares = space.take<float>(n * k);
      spreads = space.take<double>(k);
    }
    bytes = space.bytes();
  }
};

dim3 blocks_for(std::int64_t count) { return grid(divide_up<std::int64_t>(count, kThreads)); }

}  // namespace

std::size_t silhouettes_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k, Metric metric, std::int64_t m) {
  return Layout(nullptr, n, d, k, metric, m).bytes;
}

void silhouettes(const Rows& x, const Clusters& clusters, Metric metric, const Picked& some, double* scores,
                 double* means, BadRows* bad, void* workspace, Stream stream) {
  const std::int64_t k = clusters.k;
  const Picked picked{some.m < x.n ? some.picked : nullptr, some.m};  // n ascending places are all places
  const Layout at(workspace, x.n, x.d, k, metric, picked.m);
  set_zero(bad, kBadRows * sizeof(BadRows), stream);
  if (metric == Metric::cosine) {
    inverse_norms(x, at.weights, bad, stream);
  } else {
    common_weights(x, at.weights, at.largest, bad, stream);
  }
  // Twice, so that the means of clusters are added up around the global one.
  cluster_means(x, at.weights, nullptr, nullptr, at.all, at.mean, nullptr, nullptr, stream);
  launch(round_to_float, blocks_for(x.d), kThreads, 0, stream, at.mean, x.d, at.shift);
  cluster_means(x, at.weights, at.shift, clusters.labels, at.each, at.means, nullptr, nullptr, stream);

  if (metric == Metric::euclidean) {
    distance_sums(x, at.weights, at.shift, at.means, clusters, picked, at.distances, stream);
    launch(score, blocks_for(picked.m), kThreads, 0, stream, Sums{at.distances.sums, nullptr, nullptr, k}, clusters,
           picked, at.weights, 1.0 / fixed_point_factor(x.n, x.d), 1, 0.0, scores, means);
    return;
  }
  launch(round_to_float, blocks_for(k * x.d), kThreads, 0, stream, at.means, k * x.d, at.centres);
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    launch(squares_to_means<T, width>, grid(panel_blocks(x.n), panels(k)), kPanelThreads, 0, stream, data, x.n, x.d,
           x.stride, at.weights, at.shift, at.centres, k, at.squares);
  });
  launch(add_spreads, grid(k), kThreads, 0, stream, at.squares, clusters, at.spreads);
  // 1 - cosine is half the squared distance of unit vectors. Elements are below 2^kCommonExponent, or below 1.
  const bool cosine = metric == Metric::cosine;
  const double noise = static_cast<double>(x.d) * (cosine ? 0x1p-84 : 0x1p-56);
  launch(score, blocks_for(picked.m), kThreads, 0, stream, Sums{nullptr, at.squares, at.spreads, k}, clusters, picked,
         at.weights, cosine ? 0.5 : 1.0, cosine ? 0 : 2, noise, scores, means);
}

}  // namespace dataprophet::cuda
