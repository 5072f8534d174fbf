#include <cmath>

#include "cpu/nearest.hpp"
#include "native/check.hpp"

namespace dataprophet::check {

void check_nearest(const cpu::Kernels& kernels, const Drawn& x, Report* report) {
  const std::int64_t m = x.n / 2 + 1;
  const Drawn y = draw(x.element, m, x.d, 4);
  std::vector<float> cosine(static_cast<std::size_t>(x.n));
  std::vector<std::int64_t> index(static_cast<std::size_t>(x.n));
  std::vector<std::string> results;
  for (const int threads : kThreads) {
    cpu::nearest(kernels, x.element, x.rows(), x.n, y.rows(), m, threads, cosine.data(), index.data());
    results.push_back(bytes(cosine) + bytes(index));
  }
  std::vector<double> norms;
  for (std::int64_t j = 0; j < m; ++j) norms.push_back(std::sqrt(dot(y.row(j), y.row(j), x.d)));
  double worst = 0.0;
  for (std::int64_t i = 0; i < x.n; i += 29) {
    const double norm = std::sqrt(dot(x.row(i), x.row(i), x.d));
    double best = -2.0;
    std::int64_t at = 0;
    for (std::int64_t j = 0; j < m; ++j) {
      const double value = dot(x.row(i), y.row(j), x.d) / norm / norms[static_cast<std::size_t>(j)];
      if (value > best + 1e-14) {  // equal but for rounding: the first
        best = value;
        at = j;
      }
    }
    const auto place = static_cast<std::size_t>(i);
    worst = worse(worst, index[place] == at ? std::fabs(static_cast<double>(cosine[place]) - best) : 1.0);
  }
  report->error("nearest", x, worst, 1e-6);
  report->same_bits("nearest", x, results);
}

}  // namespace dataprophet::check
