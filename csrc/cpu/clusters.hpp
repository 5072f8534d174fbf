// Rows in the order of their cluster.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace dataprophet::cpu {

// Positions count rows in the order of their cluster; clusters are numbered anew, the largest first, without empty
// ones.
struct Clusters {
  std::vector<std::int64_t> order;  // position -> row
  std::vector<std::int64_t> begin;  // cluster -> its first position, and n at the end

  // Of the labels of n rows in [0, k). Throws std::invalid_argument for a label outside.
  Clusters(const std::int32_t* labels, std::int64_t n, std::int64_t k);

  std::int64_t n() const { return static_cast<std::int64_t>(order.size()); }
  std::int64_t count() const { return static_cast<std::int64_t>(begin.size()) - 1; }
  std::int64_t size(std::int64_t cluster) const {
    const auto c = static_cast<std::size_t>(cluster);
    return begin[c + 1] - begin[c];
  }
  std::int64_t cluster_at(std::int64_t position) const {
    return std::upper_bound(begin.begin(), begin.end(), position) - begin.begin() - 1;
  }
};

}  // namespace dataprophet::cpu
