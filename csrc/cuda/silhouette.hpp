// Silhouettes (b - a) / max(a, b): exact in O(n^2 d) for Euclidean distances, in O(n K d) for squared ones and cosines.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

enum class Metric : std::uint8_t { euclidean, sqeuclidean, cosine };

// k clusters, none empty. order[n] lists the rows by cluster, those of cluster c from starts[c] to starts[c + 1].
struct Clusters {
  const int* labels;  // [n], in [0, k)
  const std::int64_t* order;
  const std::int64_t* starts;  // [k + 1]
  std::int64_t k;
};

// The rows to score: m ascending places in `order`, or all of them where picked is null and m is n.
struct Picked {
  const std::int64_t* picked;
  std::int64_t m;
};

std::size_t silhouettes_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k, Metric metric, std::int64_t m);

// scores[m] = the silhouettes, 0 for a row alone in its cluster. means[m][2] = a, the mean distance to the others of
// the own cluster (0 for a row alone), and b, the least mean distance to another cluster; means may be null. Both in
// the order of the picked places. Counts rows with NaN or infinity, and for the cosine all that have no direction; then
// results are of no use. Euclidean distances are those of rows rounded to fp16 around the mean of their cluster.
void silhouettes(const Rows& x, const Clusters& clusters, Metric metric, const Picked& picked, double* scores,
                 double* means, BadRows* bad, void* workspace, Stream stream);

}  // namespace dataprophet::cuda
