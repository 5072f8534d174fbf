// Silhouettes of clustered rows: (b - a) / max(a, b), a the mean distance to the other rows of the own cluster, b the
// least mean distance to another cluster.
#pragma once

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

enum class Metric { euclidean, sqeuclidean, cosine };

struct SilhouetteTask {
  Element element;
  Rows rows;
  std::int64_t n;
  const std::int32_t* labels;  // [n] in [0, k)
  std::int64_t k;
  Metric metric;
  const std::int64_t* picked;  // [count] rows to score; null for all of them
  std::int64_t count;
  double* scores;  // [count]; 0 for a row that is alone in its cluster
  double* means;   // [count][2], a and b; or null
};

// Euclidean distances cost O(count n d) (half of that for all rows) and 8 n k bytes; the other metrics O(n k d), since
// squared distances and cosines to all rows of a cluster follow from its mean. The same bits for any number of threads.
// Returns the rows that are not finite, and for the cosine those that are zero: scores are then not written.
BadRows silhouettes(const Kernels& kernels, const SilhouetteTask& task, int threads);

}  // namespace dataprophet::cpu
