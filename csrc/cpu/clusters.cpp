#include "cpu/clusters.hpp"

#include <numeric>
#include <stdexcept>

namespace dataprophet::cpu {

Clusters::Clusters(const std::int32_t* labels, std::int64_t n, std::int64_t k)
    : order(static_cast<std::size_t>(n)), begin(1) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < n; ++i) {
    if (labels[i] < 0 || labels[i] >= k) throw std::invalid_argument("a label lies outside [0, k)");
    ++sizes[static_cast<std::size_t>(labels[i])];
  }
  std::vector<std::int64_t> by_size(static_cast<std::size_t>(k)), next(static_cast<std::size_t>(k));
  std::iota(by_size.begin(), by_size.end(), 0);
  std::stable_sort(by_size.begin(), by_size.end(), [&](std::int64_t a, std::int64_t b) {
    return sizes[static_cast<std::size_t>(a)] > sizes[static_cast<std::size_t>(b)];
  });
  for (const std::int64_t label : by_size) {
    const auto at = static_cast<std::size_t>(label);
    next[at] = begin.back();
    if (sizes[at] > 0) begin.push_back(begin.back() + sizes[at]);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    order[static_cast<std::size_t>(next[static_cast<std::size_t>(labels[i])]++)] = i;
  }
}

}  // namespace dataprophet::cpu
