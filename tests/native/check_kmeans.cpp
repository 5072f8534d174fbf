#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/kmeans.hpp"
#include "native/check.hpp"

namespace dataprophet::check {
namespace {

double squared_distance(const double* a, const float* b, std::int64_t d) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < d; ++j) sum += (a[j] - static_cast<double>(b[j])) * (a[j] - static_cast<double>(b[j]));
  return sum;
}

struct Found {
  cpu::KMeansResult result;
  std::vector<float> centroids;
  std::vector<std::int64_t> labels;
};

Found run(const cpu::Kernels& kernels, const Drawn& x, cpu::KMeansOptions options, int threads) {
  options.threads = threads;
  Found found;
  found.centroids.resize(static_cast<std::size_t>(options.k * x.d));
  found.labels.resize(static_cast<std::size_t>(x.n));
  found.result = cpu::kmeans(kernels, x.element, x.rows(), x.n, options, found.centroids.data(), found.labels.data());
  return found;
}

// How far the labels are from the nearest centroid, and the inertia from their own, relative to the inertia. Where that
// is rounding alone, as with a cluster for each row, it is relative to what fp32 makes of the squares of the rows.
double disagreement(const Drawn& x, const Found& found, std::int64_t k) {
  double inertia = 0.0, excess = 0.0;
  for (std::int64_t i = 0; i < x.n; ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (std::int64_t c = 0; c < k; ++c) {
      least = std::min(least, squared_distance(x.row(i), found.centroids.data() + c * x.d, x.d));
    }
    const std::int64_t own = found.labels[static_cast<std::size_t>(i)];
    const double distance = squared_distance(x.row(i), found.centroids.data() + own * x.d, x.d);
    inertia += distance;
    excess += distance - least;
  }
  const double squares = dot(x.exact.data(), x.exact.data(), x.n * x.d);
  const double unit = std::max(inertia, 1e-9 * squares);
  return worse(excess / unit, std::fabs(found.result.inertia - inertia) / unit);
}

}  // namespace

void check_kmeans(const cpu::Kernels& kernels, const Drawn& x, Report* report) {
  const std::int64_t k = std::min<std::int64_t>(x.n, 7);
  const std::vector<double> draws = uniforms(static_cast<std::size_t>(1 + cpu::kCandidates * (k - 1)), 3);
  const std::vector<double> init(x.exact.begin(), x.exact.begin() + k * x.d);
  for (const double* first : {static_cast<const double*>(nullptr), init.data()}) {
    const char* name = first ? "kmeans, init" : "kmeans";
    Found found;
    std::vector<std::string> results;
    for (const int threads : kThreads) {
      found = run(kernels, x, {k, first, draws.data(), 5, 0.0, 1}, threads);
      results.push_back(bytes(found.centroids) + bytes(found.labels) + std::to_string(found.result.inertia));
    }
    report->error(name, x, disagreement(x, found, k), 1e-5);
    report->same_bits(name, x, results);
  }
}

}  // namespace dataprophet::check
