#include <algorithm>
#include <cmath>

#include "cpu/cosine_to.hpp"
#include "cpu/mean_direction.hpp"
#include "cpu/measure_rows.hpp"
#include "native/check.hpp"

namespace dataprophet::check {
namespace {

std::vector<double> directions_of(const Drawn& x) {
  std::vector<double> unit(x.exact);
  for (std::int64_t i = 0; i < x.n; ++i) {
    const double norm = std::sqrt(dot(x.row(i), x.row(i), x.d));
    for (std::int64_t j = 0; j < x.d; ++j) unit[static_cast<std::size_t>(i * x.d + j)] /= norm;
  }
  return unit;
}

}  // namespace

void check_directions(const cpu::Kernels& kernels, const Drawn& x, Report* report) {
  const std::vector<double> unit = directions_of(x);
  const auto d = static_cast<std::size_t>(x.d);
  std::vector<double> mean(d);
  for (std::size_t i = 0; i < unit.size(); ++i) mean[i % d] += unit[i] / static_cast<double>(x.n);

  std::vector<double> found(d);
  std::vector<std::string> results;
  for (const int threads : kThreads) {
    cpu::mean_direction(kernels, x.element, x.rows(), x.n, threads, found.data());
    results.push_back(bytes(found));
  }
  double off = 0.0, size = 0.0;
  for (std::size_t j = 0; j < d; ++j) {
    off += (found[j] - mean[j]) * (found[j] - mean[j]);
    size += mean[j] * mean[j];
  }
  report->error("mean_direction", x, std::sqrt(off / size), 2e-7);
  report->same_bits("mean_direction", x, results);

  constexpr std::int64_t kTargets = 19;  // a whole panel and a part of one
  Drawn directions = draw(Element::f32, kTargets, x.d, 2);
  for (std::int64_t t = 0; t < kTargets; ++t) {
    const double norm = std::sqrt(dot(directions.row(t), directions.row(t), x.d));
    for (std::int64_t j = t * x.d; j < (t + 1) * x.d; ++j) {
      float& word = directions.words[static_cast<std::size_t>(j)];
      word = static_cast<float>(word / norm);
      directions.exact[static_cast<std::size_t>(j)] = static_cast<double>(word);
    }
  }
  std::vector<float> cosines(static_cast<std::size_t>(x.n * kTargets));
  results.clear();
  for (const int threads : kThreads) {
    cpu::cosine_to(kernels, x.element, x.rows(), x.n, directions.words.data(), kTargets, threads, cosines.data());
    results.push_back(bytes(cosines));
  }
  double worst = 0.0;
  for (std::int64_t i = 0; i < x.n; ++i) {
    for (std::int64_t t = 0; t < kTargets; ++t) {
      const double expected = dot(unit.data() + i * x.d, directions.row(t), x.d);
      const double error =
          std::fabs(static_cast<double>(cosines[static_cast<std::size_t>(i * kTargets + t)]) - expected);
      worst = worse(worst, error);
    }
  }
  report->error("cosine_to", x, worst, 1e-6);
  report->same_bits("cosine_to", x, results);

  constexpr std::int64_t kGroups = 3;
  std::vector<std::int64_t> groups(static_cast<std::size_t>(x.n));
  std::vector<double> lengths(groups.size()), sums(static_cast<std::size_t>(kGroups) * d), exact(sums.size());
  for (std::int64_t i = 0; i < x.n; ++i) groups[static_cast<std::size_t>(i)] = i % (kGroups + 1) - 1;
  results.clear();
  for (const int threads : kThreads) {
    cpu::measure_rows(kernels, x.element, x.rows(), x.n, directions.words.data(), kTargets, groups.data(), kGroups,
                      threads, {cosines.data(), lengths.data(), sums.data()});
    results.push_back(bytes(cosines) + bytes(lengths) + bytes(sums));
  }
  for (std::int64_t i = 0; i < x.n; ++i) {
    for (std::size_t j = 0; j < d && groups[static_cast<std::size_t>(i)] >= 0; ++j) {
      exact[static_cast<std::size_t>(groups[static_cast<std::size_t>(i)]) * d + j] +=
          unit[static_cast<std::size_t>(i) * d + j];
    }
  }
  worst = 0.0;
  for (std::size_t i = 0; i < sums.size(); ++i) worst = worse(worst, std::fabs(sums[i] - exact[i]));
  report->error("measure_rows", x, worst / static_cast<double>(x.n), 1e-7);
  report->same_bits("measure_rows", x, results);
}

}  // namespace dataprophet::check
