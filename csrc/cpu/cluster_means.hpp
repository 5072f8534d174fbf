// Means of clusters, and distances of rows to them.
#pragma once

#include <vector>

#include "cpu/clusters.hpp"
#include "cpu/points.hpp"
#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// [cluster][d], the means of the scaled rows.
std::vector<double> cluster_means(const Kernels& kernels, const Points& points, const Clusters& clusters, int threads);

// The same, but rows far from all others of their cluster weigh little, so that one of them does not draw the centre to
// where fp32 has no digits left for the others.
std::vector<double> cluster_centres(const Kernels& kernels, const Points& points, const Clusters& clusters,
                                    int threads);

// A centre of all rows, given those of the clusters, in which far clusters weigh little.
std::vector<double> middle_of(const std::vector<double>& centres, const Clusters& clusters);

// Of each position in `left`, or of all where it is null, the sum of squared distances to all rows of each cluster:
// [count][clusters]. A row's sum is size * |row - mean| squared + spread, where spread is the sum over the cluster of
// |row - mean| squared.
std::vector<double> squared_distance_sums(const Kernels& kernels, const Points& points, const Clusters& clusters,
                                          const std::vector<std::int64_t>* left, int threads);

}  // namespace dataprophet::cpu
