// Means of the rows of each cluster, always added up in the same order.
#pragma once

#include "cuda/rows.hpp"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {

// Scratch of cluster_means: partial sums of each chunk of rows and cluster, and how many rows each has of it. The
// chunks are a function of the array alone.
struct ClusterSums {
  std::int64_t n = 0, d = 0, k = 0, rows = 0, chunks = 0;
  float* partial = nullptr;
  int* counts = nullptr;
  ClusterSums() = default;
  ClusterSums(Workspace* space, std::int64_t n, std::int64_t d, std::int64_t k);
};

// means[k][d] = the mean of element * weight - shift over the rows of each cluster, in double precision; 0 for an empty
// cluster. Without labels there is one cluster; shift[d] may be null. Does nothing where *skip is set.
void cluster_means(const Rows& x, const RowWeight* weights, const float* shift, const int* labels,
                   const ClusterSums& scratch, double* means, long long* counts, const int* skip, Stream stream);

}  // namespace dataprophet::cuda
