// Lloyd's k-means, from greedy k-means++ or given centroids.
#pragma once

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

struct KMeansOptions {
  std::int64_t k;
  const double* init;   // [k][d] first centroids, or null for greedy k-means++
  const double* draws;  // [1 + kCandidates * (k - 1)] uniforms in [0, 1) for it
  std::int64_t max_iter;
  double tolerance;  // of the centroids' squared shift, in mean variances of the columns
  int threads;
};

struct KMeansResult {
  double inertia = 0.0;
  std::int64_t n_iter = 0;
  BadRows bad;  // rows that are not finite: then nothing was computed
};

// Clusters n >= k rows. It stops as dataprophet/ops/reference/clusters.py says. centroids[k][d], labels[n]. The same
// bits for any number of threads.
KMeansResult kmeans(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n,
                    const KMeansOptions& options, float* centroids, std::int64_t* labels);

}  // namespace dataprophet::cpu
