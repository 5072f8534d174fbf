// Lloyd's k-means.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

struct KMeansOptions {
  std::int64_t k;
  const double* init;   // [k][d] first centroids, or null for greedy k-means++
  const double* draws;  // [1 + 4 (k - 1)] in [0, 1), for k-means++
  int max_iter;
  double tolerance;
};

struct KMeansResult {
  float* centroids;      // [k][d]
  std::int64_t* labels;  // [n]
  double* figures;       // [2]: the inertia and the number of iterations
};

std::size_t kmeans_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k);

// All max_iter iterations are enqueued; once the clusters have converged, the rest do nothing. No cluster is empty: one
// that would be moves to the row farthest from its centroid. Ties go to the lowest index. Counts rows with NaN or
// infinity, for which results are of no use.
void kmeans(const Rows& x, const KMeansOptions& options, const KMeansResult& result, BadRows* bad, void* workspace,
            Stream stream);

}  // namespace dataprophet::cuda
