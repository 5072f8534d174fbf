// Sums of the Euclidean distances of rows to all rows of each cluster, without the matrix of distances.
#pragma once

#include <vector>

#include "cpu/clusters.hpp"
#include "cpu/points.hpp"
#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// Sums in fixed point, which add up to the same bits in any order.
struct FixedSums {
  std::vector<std::int64_t> values;  // [count][clusters]
  double unit;                       // of the scaled points' lengths
};

// Of each position in `left`, ascending, or of all positions where it is null: then each distance is computed once and
// serves both of its rows.
FixedSums euclidean_sums(const Kernels& kernels, const Points& points, const Clusters& clusters,
                         const std::vector<std::int64_t>* left, int threads);

}  // namespace dataprophet::cpu
