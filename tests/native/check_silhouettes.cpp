#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/silhouette.hpp"
#include "native/check.hpp"

namespace dataprophet::check {
namespace {

double distance(cpu::Metric metric, const double* a, const double* b, std::int64_t d) {
  if (metric == cpu::Metric::cosine) return 1.0 - dot(a, b, d) / std::sqrt(dot(a, a, d) * dot(b, b, d));
  double sum = 0.0;
  for (std::int64_t j = 0; j < d; ++j) sum += (a[j] - b[j]) * (a[j] - b[j]);
  return metric == cpu::Metric::euclidean ? std::sqrt(sum) : sum;
}

double silhouette(cpu::Metric metric, const Drawn& x, const std::vector<std::int32_t>& labels, std::int64_t k,
                  std::int64_t row) {
  std::vector<double> sums(static_cast<std::size_t>(k)), sizes(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < x.n; ++i) {
    const auto label = static_cast<std::size_t>(labels[static_cast<std::size_t>(i)]);
    sizes[label] += 1.0;
    if (i != row) sums[label] += distance(metric, x.row(row), x.row(i), x.d);
  }
  const auto own = static_cast<std::size_t>(labels[static_cast<std::size_t>(row)]);
  if (sizes[own] == 1.0) return 0.0;
  const double inside = sums[own] / (sizes[own] - 1.0);
  double outside = std::numeric_limits<double>::infinity();
  for (std::size_t c = 0; c < sums.size(); ++c) {
    if (c != own) outside = std::min(outside, sums[c] / sizes[c]);
  }
  return (outside - inside) / std::max(outside, inside);
}

}  // namespace

void check_silhouettes(const cpu::Kernels& kernels, const Drawn& x, Report* report) {
  constexpr std::int64_t kClusters = 3;
  if (x.n <= kClusters) return;
  std::vector<std::int32_t> labels(static_cast<std::size_t>(x.n), 0);
  for (std::size_t i = 1; i < labels.size(); ++i) labels[i] = 1 + static_cast<std::int32_t>(i % 2);  // row 0 is alone
  labels[5] = 0;
  std::vector<std::int64_t> some;
  for (std::int64_t i = 0; i < x.n; i += 29) some.push_back(i);

  for (const auto& [metric, name] :
       {std::pair{cpu::Metric::euclidean, "euclidean"}, std::pair{cpu::Metric::sqeuclidean, "sqeuclidean"},
        std::pair{cpu::Metric::cosine, "silh. cosine"}}) {
    std::vector<double> scores(static_cast<std::size_t>(x.n)), picked(some.size());
    std::vector<std::string> results;
    for (const int threads : kThreads) {
      cpu::SilhouetteTask task{x.element, x.rows(), x.n, labels.data(), kClusters,
                               metric,    nullptr,  x.n, scores.data(), nullptr};
      cpu::silhouettes(kernels, task, threads);
      task.picked = some.data();
      task.count = static_cast<std::int64_t>(some.size());
      task.scores = picked.data();
      cpu::silhouettes(kernels, task, threads);
      results.push_back(bytes(scores) + bytes(picked));
    }
    double worst = 0.0;
    for (std::size_t i = 0; i < some.size(); ++i) {
      const double expected = silhouette(metric, x, labels, kClusters, some[i]);
      worst = worse(worst, std::fabs(scores[static_cast<std::size_t>(some[i])] - expected));
      worst = worse(worst, std::fabs(picked[i] - expected));
    }
    // Products of bfloat16 round the rows after the mean is taken off, and clusters of one or two rows average nothing.
    report->error(name, x, worst, x.element == Element::bf16 ? 4e-4 : 2e-6);
    report->same_bits(name, x, results);
  }
}

}  // namespace dataprophet::check
