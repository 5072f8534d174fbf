#include "bind/cuda/arguments.hpp"
#include "bind/cuda/operations.hpp"
#include "cuda/cluster_counts.hpp"
#include "cuda/kmeans.hpp"
#include "cuda/plus_plus.hpp"
#include "cuda/silhouette.hpp"

namespace py = pybind11;

namespace dataprophet::cuda::bindings {
namespace {

constexpr std::int64_t kMostClusters = 65535 * 16;  // panels of 16 clusters, on an axis of a grid

Metric metric_of(const std::string& name) {
  if (name == "euclidean") return Metric::euclidean;
  if (name == "sqeuclidean") return Metric::sqeuclidean;
  if (name == "cosine") return Metric::cosine;
  throw py::value_error("metric must be euclidean, sqeuclidean or cosine, got " + name);
}

std::int64_t length(py::handle array) { return py::len(array); }

}  // namespace

void kmeans(py::handle x, py::handle init, py::handle draws, py::handle centroids, py::handle labels,
            py::handle figures, py::handle bad, int max_iter, double tolerance, py::handle workspace,
            std::uintptr_t stream) {
  Arguments arguments;
  const Rows rows = arguments.rows(x, "x");
  const std::int64_t k = length(centroids);
  require(rows.d > 0 && k >= 1 && k <= rows.n && k <= kMostClusters, "x must have columns, and k rows or more");
  require(max_iter >= 0 && tolerance >= 0.0, "max_iter and tolerance must not be negative");
  const KMeansOptions options{k, arguments.array_or_null<double>(init, "init", Element::f64, k * rows.d),
                              arguments.array<double>(draws, "draws", Element::f64, 1 + kCandidates * (k - 1)),
                              max_iter, tolerance};
  const KMeansResult result{arguments.array<float>(centroids, "centroids", Element::f32, k * rows.d),
                            arguments.array<std::int64_t>(labels, "labels", Element::i64, rows.n),
                            arguments.array<double>(figures, "figures", Element::f64, 2)};
  BadRows* counts = arguments.bad_rows(bad);
  void* scratch = arguments.workspace(workspace, kmeans_workspace_bytes(rows.n, rows.d, k));
  enqueue(arguments, stream, [&](Stream on) { cuda::kmeans(rows, options, result, counts, scratch, on); });
}

void silhouettes(py::handle x, py::handle clusters, py::handle order, py::handle starts, const std::string& metric,
                 py::handle picked, py::handle scores, py::handle means, py::handle bad, py::handle workspace,
                 std::uintptr_t stream) {
  Arguments arguments;
  const Rows rows = arguments.rows(x, "x");
  const std::int64_t k = length(starts) - 1, m = picked.is_none() ? rows.n : length(picked);
  require(rows.n > 0 && rows.d > 0 && m > 0, "x and picked must not be empty");
  require(k >= 1 && k <= rows.n && k <= kMostClusters && m <= rows.n, "there are too many clusters or picked rows");
  const Metric distance = metric_of(metric);
  const Clusters given{arguments.array<int>(clusters, "clusters", Element::i32, rows.n),
                       arguments.array<std::int64_t>(order, "order", Element::i64, rows.n),
                       arguments.array<std::int64_t>(starts, "starts", Element::i64, k + 1), k};
  const Picked places{arguments.array_or_null<std::int64_t>(picked, "picked", Element::i64, m), m};
  auto* out = arguments.array<double>(scores, "scores", Element::f64, m);
  auto* pairs = arguments.array_or_null<double>(means, "means", Element::f64, 2 * m);
  BadRows* counts = arguments.bad_rows(bad);
  void* scratch = arguments.workspace(workspace, cuda::silhouettes_workspace_bytes(rows.n, rows.d, k, distance, m));
  enqueue(arguments, stream,
          [&](Stream on) { cuda::silhouettes(rows, given, distance, places, out, pairs, counts, scratch, on); });
}

void cluster_counts(py::handle labels, py::handle counts, std::uintptr_t stream) {
  Arguments arguments;
  const std::int64_t n = length(labels), k = length(counts) - 1;
  require(n > 0 && k > 0, "labels and counts must not be empty");
  const auto* given = arguments.array<std::int64_t>(labels, "labels", Element::i64, n);
  auto* found = arguments.array<unsigned long long>(counts, "counts", Element::i64, k + 1);
  enqueue(arguments, stream, [&](Stream on) { cuda::cluster_counts(given, n, k, found, on); });
}

std::size_t silhouettes_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k, const std::string& metric,
                                        std::int64_t m) {
  return cuda::silhouettes_workspace_bytes(n, d, k, metric_of(metric), m);
}

}  // namespace dataprophet::cuda::bindings
