#include <algorithm>

#include "cuda/cluster_counts.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"

namespace dataprophet::cuda {
namespace {

constexpr int kThreads = 256, kPerThread = 16;
constexpr std::int64_t kSharedCounts = 4096;

__global__ void cluster_counts_kernel(const std::int64_t* labels, std::int64_t n, std::int64_t k,
                                      unsigned long long* counts) {
  auto* of_block = dynamic_shared<unsigned>();
  const bool shared = k < kSharedCounts;
  if (shared) {
    for (int i = threadIdx.x; i <= k; i += kThreads) of_block[i] = 0;
    __syncthreads();
  }
  const std::int64_t first = blockIdx.x * std::int64_t{kThreads * kPerThread} + threadIdx.x;
  for (int step = 0; step < kPerThread; ++step) {
    const std::int64_t i = first + step * kThreads;
    if (i >= n) break;
    const std::int64_t label = labels[i] >= 0 && labels[i] < k ? labels[i] : k;
    if (shared) {
      atomicAdd(&of_block[label], 1u);
    } else {
      atomicAdd(&counts[label], 1ull);
    }
  }
  if (!shared) return;
  __syncthreads();
  for (int i = threadIdx.x; i <= k; i += kThreads) {
    if (of_block[i] > 0) atomicAdd(&counts[i], static_cast<unsigned long long>(of_block[i]));
  }
}

}  // namespace

void cluster_counts(const std::int64_t* labels, std::int64_t n, std::int64_t k, unsigned long long* counts,
                    Stream stream) {
  set_zero(counts, static_cast<std::size_t>(k + 1) * sizeof(unsigned long long), stream);
  const std::size_t shared = k < kSharedCounts ? static_cast<std::size_t>(k + 1) * sizeof(unsigned) : 0;
  launch(cluster_counts_kernel, grid(divide_up<std::int64_t>(n, kThreads * kPerThread)), kThreads, shared, stream,
         labels, n, k, counts);
}

}  // namespace dataprophet::cuda
