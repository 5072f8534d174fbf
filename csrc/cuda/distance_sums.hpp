// Sums of Euclidean distances of rows to each cluster, on the tensor cores.
#pragma once

#include "cuda/silhouette.hpp"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {

// Sums are integers: multiples of a power of two, so that they do not depend on the order of addition.
using FixedPoint = unsigned long long;

// The factor of the sums of up to n distances of d elements below 2^(kCommonExponent + 1). Not above 2^24, so that
// what is left of a distance between equal rows after rounding is 0.
float fixed_point_factor(std::int64_t n, std::int64_t d);

struct DistanceSums {
  FixedPoint* sums;  // [m][k]: the result, times fixed_point_factor
  void* rows;        // fp16 rows, by place, around the means of their clusters
  void* picked_rows;
  float* norms;     // of rows, squared
  float* halves;    // [n][k], see distance_sums.cu
  float* centres;   // [k][pitch]
  int* cluster_of;  // [n], by place
  std::int64_t pitch;
  DistanceSums() = default;
  DistanceSums(Workspace* space, std::int64_t n, std::int64_t d, std::int64_t k, std::int64_t m);
};

// Distances of element * weight. The mean of a cluster is shift[d] + means[k][d].
void distance_sums(const Rows& x, const RowWeight* weights, const float* shift, const double* means,
                   const Clusters& clusters, const Picked& picked, const DistanceSums& scratch, Stream stream);

}  // namespace dataprophet::cuda
