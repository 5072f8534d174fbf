#include "cuda/cluster_sums.hpp"
#include "cuda/grid.cuh"
#include "cuda/kmeans.hpp"
#include "cuda/launch.cuh"
#include "cuda/panel.cuh"
#include "cuda/plus_plus.hpp"

namespace dataprophet::cuda {
namespace {

constexpr int kThreads = 256, kOneBlock = 1024;
constexpr std::int64_t kChunk = 256, kSharedCounts = 1024;
constexpr double kRounding = 0x1p-30;  // of a squared length: what fp32 sums of equal rows leave them off their mean

// What the iterations leave for each other.
struct State {
  double threshold, shift;
  int converged, changed, n_iter;
  int relocated;  // an empty cluster moved to a row that was away from its centroid by more than rounding
};

__global__ void round_shift(const double* mean, std::int64_t d, float* shift) {
  const std::int64_t j = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (j < d) shift[j] = static_cast<float>(mean[j]);
}

__global__ void take_init(const double* init, const RowWeight* weights, const float* shift, std::int64_t d,
                          std::int64_t count, float* centres) {
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i < count) centres[i] = static_cast<float>(init[i] * weights[0].second - shift[i % d]);
}

// sums[chunk] = squared distances of the chunk's rows to their centroids, or without centroids to the shift.
template <class T>
__global__ void add_squares(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const RowWeight* weights,
                            const float* shift, const float* centres, const int* labels, double* sums) {
  __shared__ double scratch[32];
  const int lane = threadIdx.x % 32;
  const std::int64_t begin = blockIdx.x * kChunk, end = min(n, begin + kChunk);
  double sum = 0.0;
  for (std::int64_t row = begin + threadIdx.x / 32; row < end; row += kThreads / 32) {
    const RowWeight weight = weights[row];
    const float* centre = centres ? centres + labels[row] * d : nullptr;
    float squares = 0.0f;
    for (std::int64_t j = lane; j < d; j += 32) {
      const float value = fmaf(to_float(x[row * stride + j]) * weight.first, weight.second, -shift[j]);
      const float difference = centre ? value - centre[j] : value;
      squares = fmaf(difference, difference, squares);
    }
    sum += squares;
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__device__ double add_up(const double* sums, std::int64_t count, double* scratch) {
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
  return block_sum(sum, scratch);
}

__global__ void begin(const double* sums, std::int64_t chunks, std::int64_t n, std::int64_t d, double tolerance,
                      State* state) {
  __shared__ double scratch[32];
  const double sum = add_up(sums, chunks, scratch);
  if (threadIdx.x == 0) *state = {tolerance * sum / static_cast<double>(n) / static_cast<double>(d), 0.0, 0, 0, 0, 0};
}

// next[n] = the nearest centroid of each row, and its squared distance.
template <class T, int V>
__global__ void __launch_bounds__(kPanelThreads, 2)
    assign(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const RowWeight* weights,
           const float* shift, const float* centres, int k, int* next, float* distances, int* counts,
           const State* state) {
  if (state->converged) return;
  int* of_block = dynamic_shared<int>();
  const bool shared = k <= kSharedCounts;
  if (shared) {
    for (int c = threadIdx.x; c < k; c += kPanelThreads) of_block[c] = 0;
    __syncthreads();
  }
  const std::int64_t first = panel_first_row();
  const int lane = threadIdx.x % 32;
  if (first < n) {
    float least[kPanelRows / 2];
    int nearest[kPanelRows / 2];
#pragma unroll
    for (int pair = 0; pair < kPanelRows / 2; ++pair) least[pair] = INFINITY, nearest[pair] = 0;
    for (int start = 0; start < k; start += kPanel) {
      float sums[kPanelRows][kPanel];
      squared_distances<kPanelRows, kPanel, V>(x, first, n, d, stride, weights, shift,
                                               centres + static_cast<std::int64_t>(start) * d, k - start, sums);
#pragma unroll
      for (int pair = 0; pair < kPanelRows / 2; ++pair) {
        float value = pair_sums(sums, pair);
        int cluster = start + lane % kPanel;
        if (cluster >= k) value = INFINITY;
#pragma unroll
        for (int step = kPanel / 2; step > 0; step /= 2) {
          const float other = __shfl_xor_sync(kWarp, value, step);
          const int other_cluster = __shfl_xor_sync(kWarp, cluster, step);
          if (other < value || (other == value && other_cluster < cluster)) value = other, cluster = other_cluster;
        }
        if (value < least[pair]) least[pair] = value, nearest[pair] = cluster;
      }
    }
#pragma unroll
    for (int pair = 0; pair < kPanelRows / 2; ++pair) {
      const std::int64_t row = first + pair * 2 + lane / kPanel;
      if (lane % kPanel > 0 || row >= n) continue;
      next[row] = nearest[pair];
      distances[row] = least[pair];
      atomicAdd(shared ? &of_block[nearest[pair]] : &counts[nearest[pair]], 1);
    }
  }
  if (!shared) return;
  __syncthreads();
  for (int c = threadIdx.x; c < k; c += kPanelThreads) {
    if (of_block[c] > 0) atomicAdd(&counts[c], of_block[c]);
  }
}

// Each empty cluster moves to the row that is farthest from its centroid, of those that are not alone.
template <class T>
__global__ void fill_empty(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const RowWeight* weights,
                           const float* shift, int k, int* next, float* distances, float* centres, int* counts,
                           State* state) {
  if (state->converged) return;
  __shared__ double scratch[32];
  __shared__ float farthest[kOneBlock];
  __shared__ std::int64_t rows[kOneBlock];
  const int mine = threadIdx.x;
  for (int empty = 0; empty < k; ++empty) {
    if (counts[empty] > 0) continue;
    float most = -1.0f;
    std::int64_t row = n;
    for (std::int64_t i = mine; i < n; i += kOneBlock) {
      if (counts[next[i]] > 1 && distances[i] > most) most = distances[i], row = i;
    }
    farthest[mine] = most;
    rows[mine] = row;
    __syncthreads();
    for (int step = kOneBlock / 2; step > 0; step /= 2) {
      if (mine < step) {
        const float other = farthest[mine + step];
        const bool better = other > farthest[mine] || (other == farthest[mine] && rows[mine + step] < rows[mine]);
        if (better) farthest[mine] = other, rows[mine] = rows[mine + step];
      }
      __syncthreads();
    }
    const std::int64_t taken = rows[0];
    if (taken < n) {  // for all threads or none
      const RowWeight weight = weights[taken];
      double squares = 0.0;
      for (std::int64_t j = mine; j < d; j += kOneBlock) {
        const float value = fmaf(to_float(x[taken * stride + j]) * weight.first, weight.second, -shift[j]);
        centres[empty * d + j] = value;
        squares += static_cast<double>(value) * value;
      }
      squares = block_sum(squares, scratch);
      if (mine == 0) {
        if (distances[taken] > kRounding * squares) state->relocated = 1;
        --counts[next[taken]];
        counts[empty] = 1;
        next[taken] = empty;
        distances[taken] = 0.0f;
      }
    }
    __syncthreads();
  }
}

__global__ void settle(std::int64_t n, const int* next, int* labels, State* state) {
  if (state->converged) return;
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  const bool changed = i < n && next[i] != labels[i];
  if (changed) labels[i] = next[i];
  if (__syncthreads_or(changed) && threadIdx.x == 0) atomicOr(&state->changed, 1);
}

// Centroids become the means of their clusters.
__global__ void move(const double* means, std::int64_t count, float* centres, State* state) {
  if (state->converged) return;
  __shared__ double scratch[32];
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < count; i += kOneBlock) {
    const double moved = means[i] - centres[i];
    sum += moved * moved;
    centres[i] = static_cast<float>(means[i]);
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) state->shift = sum, state->relocated = 0;
}

__global__ void end_iteration(State* state) {
  if (threadIdx.x > 0 || state->converged) return;
  ++state->n_iter;
  state->converged = !state->relocated && (state->shift <= state->threshold || !state->changed);
  state->changed = 0;
}

__global__ void finish(const double* sums, std::int64_t chunks, const RowWeight* weights, const State* state,
                       double* figures) {
  __shared__ double scratch[32];
  const double sum = add_up(sums, chunks, scratch), unit = weights[0].second;
  if (threadIdx.x > 0) return;
  figures[0] = sum / unit / unit;
  figures[1] = state->n_iter;
}

__global__ void give_labels(const int* labels, std::int64_t n, std::int64_t* out) {
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i < n) out[i] = labels[i];
}

__global__ void give_centroids(const float* centres, const RowWeight* weights, const float* shift, std::int64_t d,
                               std::int64_t count, float* out) {
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i < count) out[i] = static_cast<float>((static_cast<double>(centres[i]) + shift[i % d]) / weights[0].second);
}

struct Layout {
  RowWeight* weights;
  unsigned* largest;
  ClusterSums all, each;
  double *mean, *means, *sums;
  float *shift, *centres, *distances;
  int *labels, *next, *counts;
  State* state;
  PlusPlus seeds;
  std::size_t bytes;
  Layout(void* base, std::int64_t n, std::int64_t d, std::int64_t k) {
    Workspace space(base);
    weights = space.take<RowWeight>(n);
    largest = space.take<unsigned>(1);
    all = ClusterSums(&space, n, d, 1);
    each = ClusterSums(&space, n, d, k);
    mean = space.take<double>(d);
    means = space.take<double>(k * d);
    sums = space.take<double>(divide_up(n, kChunk));
    shift = space.take<float>(d);
    centres = space.take<float>(k * d);
    distances = space.take<float>(n);
    labels = space.take<int>(n);
    next = space.take<int>(n);
    counts = space.take<int>(k);
    state = space.take<State>(1);
    seeds = PlusPlus(&space, n, d, k);
    bytes = space.bytes();
  }
};

dim3 blocks_for(std::int64_t count, std::int64_t of = kThreads) { return grid(divide_up(count, of)); }

template <class T, int V>
void run(const T* data, const Rows& x, const KMeansOptions& options, const KMeansResult& result, const Layout& at,
         Stream stream) {
  const std::int64_t n = x.n, d = x.d, k = options.k, chunks = divide_up(n, kChunk);
  const auto add_up_squares = [&](const float* centres) {
    launch(add_squares<T>, blocks_for(n, kChunk), kThreads, 0, stream, data, n, d, x.stride, at.weights, at.shift,
           centres, at.labels, at.sums);
  };
  const auto label_rows = [&] {
    const std::size_t shared = k <= kSharedCounts ? static_cast<std::size_t>(k) * sizeof(int) : 0;
    set_zero(at.counts, static_cast<std::size_t>(k) * sizeof(int), stream);
    launch(assign<T, V>, grid(panel_blocks(n)), kPanelThreads, shared, stream, data, n, d, x.stride, at.weights,
           at.shift, at.centres, k, at.next, at.distances, at.counts, at.state);
    launch(fill_empty<T>, dim3(1), kOneBlock, 0, stream, data, n, d, x.stride, at.weights, at.shift, k, at.next,
           at.distances, at.centres, at.counts, at.state);
    launch(settle, blocks_for(n), kThreads, 0, stream, n, at.next, at.labels, at.state);
  };

  add_up_squares(nullptr);
  launch(begin, dim3(1), kOneBlock, 0, stream, at.sums, chunks, n, d, options.tolerance, at.state);
  if (options.init) {
    launch(take_init, blocks_for(k * d), kThreads, 0, stream, options.init, at.weights, at.shift, d, k * d, at.centres);
  } else {
    plus_plus(x, at.weights, at.shift, options.draws, k, at.seeds, at.centres, stream);
  }
  set_zero(at.labels, static_cast<std::size_t>(n) * sizeof(int), stream);
  label_rows();
  for (int iteration = 0; iteration < options.max_iter; ++iteration) {
    set_zero(&at.state->changed, sizeof(int), stream);
    cluster_means(x, at.weights, at.shift, at.labels, at.each, at.means, nullptr, &at.state->converged, stream);
    launch(move, dim3(1), kOneBlock, 0, stream, at.means, k * d, at.centres, at.state);
    label_rows();
    launch(end_iteration, dim3(1), 32, 0, stream, at.state);
  }
  add_up_squares(at.centres);
  launch(finish, dim3(1), kOneBlock, 0, stream, at.sums, chunks, at.weights, at.state, result.figures);
  launch(give_labels, blocks_for(n), kThreads, 0, stream, at.labels, n, result.labels);
  launch(give_centroids, blocks_for(k * d), kThreads, 0, stream, at.centres, at.weights, at.shift, d, k * d,
         result.centroids);
}

}  // namespace

std::size_t kmeans_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k) {
  return Layout(nullptr, n, d, k).bytes;
}

void kmeans(const Rows& x, const KMeansOptions& options, const KMeansResult& result, BadRows* bad, void* workspace,
            Stream stream) {
  const Layout at(workspace, x.n, x.d, options.k);
  set_zero(bad, kBadRows * sizeof(BadRows), stream);
  common_weights(x, at.weights, at.largest, bad, stream);
  cluster_means(x, at.weights, nullptr, nullptr, at.all, at.mean, nullptr, nullptr, stream);
  launch(round_shift, blocks_for(x.d), kThreads, 0, stream, at.mean, x.d, at.shift);
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    run<T, width>(data, x, options, result, at, stream);
  });
}

}  // namespace dataprophet::cuda
