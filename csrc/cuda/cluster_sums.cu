#include <algorithm>

#include "cuda/cluster_sums.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/load.cuh"
#include "cuda/reduce.cuh"

namespace dataprophet::cuda {
namespace {

constexpr int kMaxThreads = 256, kAhead = 8, kFlush = 64;
constexpr std::int64_t kMaxRows = 4096;
constexpr unsigned kRowBits = 12;

// A block sorts the rows of its chunk by label, so that each thread adds up its columns in registers, one cluster after
// the other, and writes each once.
template <class T, int V>
__global__ void sum_clusters(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const RowWeight* weights,
                             const float* shift, const int* labels, std::int64_t k, std::int64_t chunk, int size,
                             float* partial, int* counts, const int* skip) {
  if (skip && *skip) return;
  auto* keys = dynamic_shared<unsigned long long>();
  const std::int64_t begin = blockIdx.x * chunk;
  const int count = static_cast<int>(min(n - begin, chunk));
  const int threads = blockDim.x;
  for (int i = threadIdx.x; i < size; i += threads) {
    const unsigned long long label = labels && i < count ? static_cast<unsigned long long>(labels[begin + i]) : 0;
    keys[i] = i < count ? label << kRowBits | static_cast<unsigned>(i) : ~0ull;
  }
  __syncthreads();
  for (int width = 2; width <= size && labels; width *= 2) {
    for (int step = width / 2; step > 0; step /= 2) {
      for (int pair = threadIdx.x; pair < size / 2; pair += threads) {
        const int low = pair / step * step * 2 + pair % step, high = low + step;
        const bool ascending = (low & width) == 0;
        const unsigned long long a = keys[low], b = keys[high];
        if ((a > b) == ascending) keys[low] = b, keys[high] = a;
      }
      __syncthreads();
    }
  }

  const std::int64_t column = (blockIdx.y * static_cast<std::int64_t>(threads) + threadIdx.x) * V;
  if (column >= d) return;
  float offset[V] = {};
  if (shift) load_floats<V>(shift + column, offset);
  float sum[V] = {};
  double total[V] = {};
  int of_run = 0;
  for (int start = 0; start < count; start += kAhead) {
    Pack<T, V> packs[kAhead];
    RowWeight weight[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const std::int64_t row =
          begin + static_cast<std::int64_t>(keys[min(start + i, count - 1)] & ((1u << kRowBits) - 1));
      packs[i].load(x + row * stride + column);
      weight[i] = weights[row];
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (start + i >= count) break;
      float values[V];
      packs[i].unpack(values);
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] += fmaf(values[v] * weight[i].first, weight[i].second, -offset[v]);
      ++of_run;
      const unsigned long long label = keys[start + i] >> kRowBits;
      const bool last = start + i + 1 == count || keys[start + i + 1] >> kRowBits != label;
      if (!last && of_run % kFlush) continue;
#pragma unroll
      for (int v = 0; v < V; ++v) total[v] += sum[v], sum[v] = 0.0f;
      if (!last) continue;
      const std::int64_t at = blockIdx.x * k + static_cast<std::int64_t>(label);
#pragma unroll
      for (int v = 0; v < V; ++v) partial[at * d + column + v] = static_cast<float>(total[v]), total[v] = 0.0;
      if (column == 0) counts[at] = of_run;
      of_run = 0;
    }
  }
}

// 32 columns of one cluster, and 8 ways through the chunks.
__global__ void add_chunks(const float* partial, const int* counts, std::int64_t chunks, std::int64_t k, std::int64_t d,
                           double* means, long long* totals, const int* skip) {
  if (skip && *skip) return;
  __shared__ double sums[8][32];
  __shared__ long long rows[8];
  const int column = threadIdx.x % 32, way = threadIdx.x / 32;
  const std::int64_t j = blockIdx.y * std::int64_t{32} + column, cluster = blockIdx.x;
  double sum = 0.0;
  long long count = 0;
  for (std::int64_t chunk = way; chunk < chunks; chunk += 8) {
    const int here = counts[chunk * k + cluster];
    if (here > 0 && j < d) sum += partial[(chunk * k + cluster) * d + j];
    count += here;
  }
  sums[way][column] = sum;
  if (column == 0) rows[way] = count;
  __syncthreads();
  if (way > 0) return;
  double total = 0.0;
  long long all = 0;
  for (int w = 0; w < 8; ++w) total += sums[w][column], all += rows[w];
  if (j < d) means[cluster * d + j] = all > 0 ? total / static_cast<double>(all) : 0.0;
  if (j == 0 && totals) totals[cluster] = all;
}

}  // namespace

// Many clusters take longer chunks, so that the partial sums stay below a quarter of the rows.
ClusterSums::ClusterSums(Workspace* space, std::int64_t n_, std::int64_t d_, std::int64_t k_) : n(n_), d(d_), k(k_) {
  const std::int64_t wanted = std::max(divide_up<std::int64_t>(n, 256), 4 * k);
  rows = std::clamp<std::int64_t>(round_up<std::int64_t>(wanted, 32), 64, kMaxRows);
  chunks = divide_up(n, rows);
  partial = space->take<float>(chunks * k * d);
  counts = space->take<int>(chunks * k);
}

void cluster_means(const Rows& x, const RowWeight* weights, const float* shift, const int* labels,
                   const ClusterSums& scratch, double* means, long long* counts, const int* skip, Stream stream) {
  set_zero(scratch.counts, static_cast<std::size_t>(scratch.chunks * scratch.k) * sizeof(int), stream);
  int size = 64;
  while (size < scratch.rows) size *= 2;
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    constexpr int V = width;
    const std::int64_t packs = divide_up<std::int64_t>(x.d, V);
    const int threads = static_cast<int>(std::min<std::int64_t>(kMaxThreads, round_up<std::int64_t>(packs, 32)));
    launch(sum_clusters<T, V>, grid(scratch.chunks, divide_up<std::int64_t>(packs, threads)), threads,
           static_cast<std::size_t>(size) * sizeof(unsigned long long), stream, data, x.n, x.d, x.stride, weights,
           shift, labels, scratch.k, scratch.rows, size, scratch.partial, scratch.counts, skip);
  });
  launch(add_chunks, grid(scratch.k, divide_up<std::int64_t>(x.d, 32)), 256, 0, stream, scratch.partial, scratch.counts,
         scratch.chunks, scratch.k, x.d, means, counts, skip);
}

}  // namespace dataprophet::cuda
