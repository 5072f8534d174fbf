// How many labels each cluster has.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

// counts[k + 1]: of the labels 0 to k - 1, and last of labels outside [0, k).
void cluster_counts(const std::int64_t* labels, std::int64_t n, std::int64_t k, unsigned long long* counts,
                    Stream stream);

}  // namespace dataprophet::cuda
