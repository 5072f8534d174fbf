#include "cpu/mean_direction.hpp"

#include <vector>

#include "cpu/parallel.hpp"

namespace dataprophet::cpu {

void merge(BadRows* total, const BadRows& later) {
  total->zero += later.zero;
  total->nonfinite += later.nonfinite;
  if (total->first < 0) total->first = later.first;
}

BadRows mean_direction(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, int threads,
                       double* out) {
  const Chunks chunks(n, rows.d);
  const auto d = static_cast<std::size_t>(rows.d);
  const auto count = static_cast<std::size_t>(chunks.count);
  const SumDirections sum_directions = kernels.sum_directions[static_cast<int>(element)];
  std::vector<std::vector<double>> sums(count);
  std::vector<BadRows> bad(count);
  const std::int64_t bytes = n * rows.d * (element == Element::f32 ? 4 : 2);
  parallel_for(chunks.count, useful_threads(threads, bytes), [&](std::int64_t chunk) {
    const auto at = static_cast<std::size_t>(chunk);
    std::vector<float> block(d);
    sums[at].assign(d, 0.0);
    sum_directions(rows, chunks.begin(chunk), chunks.end(chunk), block.data(), sums[at].data(), &bad[at]);
  });

  BadRows total;
  for (const BadRows& part : bad) merge(&total, part);
  const std::int64_t good = n - total.zero - total.nonfinite;
  for (std::size_t j = 0; j < d; ++j) {
    double sum = 0.0;
    for (const std::vector<double>& part : sums) sum += part[j];
    out[j] = good > 0 ? sum / static_cast<double>(good) : 0.0;
  }
  return total;
}

}  // namespace dataprophet::cpu
