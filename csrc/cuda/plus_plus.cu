#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/panel.cuh"
#include "cuda/plus_plus.hpp"

namespace dataprophet::cuda {
namespace {

constexpr std::int64_t kChunk = 256;  // rows whose distances are added up by a block
constexpr int kRowsAtOnce = 8, kThreads = 256;
static_assert(kRowsAtOnce * kCandidates == 32);

// The first i < count for which start + value(0) + ... + value(i) > target, else count; *before is the sum before it.
// By one warp, 32 values at a time.
template <class Value>
__device__ std::int64_t search(std::int64_t count, double start, double target, const Value& value, double* before) {
  const int lane = threadIdx.x % 32;
  double carry = start;
  for (std::int64_t first = 0; first < count; first += 32) {
    const bool inside = first + lane < count;
    double sum = inside ? value(first + lane) : 0.0;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const double left = __shfl_up_sync(kWarp, sum, step);
      if (lane >= step) sum += left;
    }
    sum += carry;
    const unsigned found = __ballot_sync(kWarp, inside && sum > target);
    if (found) {
      const int at = __ffs(static_cast<int>(found)) - 1;
      const double left = __shfl_sync(kWarp, sum, max(at - 1, 0));
      *before = at > 0 ? left : carry;
      return first + at;
    }
    carry = __shfl_sync(kWarp, sum, 31);
  }
  *before = carry;
  return count;
}

// A row drawn by its distance: the first whose cumulative distance exceeds draw * total. -1 where all are 0.
__device__ std::int64_t draw_row(const PlusPlus& at, std::int64_t n, int best, double draw) {
  const std::int64_t chunks = (n + kChunk - 1) / kChunk;
  const auto chunk_sum = [&](std::int64_t chunk) { return at.chunk_sums[chunk * kCandidates + best]; };
  double total, before;
  search(chunks, 0.0, INFINITY, chunk_sum, &total);
  if (!(total > 0.0)) return -1;
  const std::int64_t chunk = min(search(chunks, 0.0, draw * total, chunk_sum, &before), chunks - 1);
  const std::int64_t first = chunk * kChunk, count = min(n - first, kChunk);
  const auto distance = [&](std::int64_t i) -> double { return at.reduced[(first + i) * kCandidates + best]; };
  double unused;
  const std::int64_t found = search(count, before, draw * total, distance, &unused);
  if (found < count) return first + found;
  // The chunk's own sum was rounded otherwise: its last row that is no centre.
  std::int64_t last = count - 1;
  while (last > 0 && !(distance(last) > 0.0)) --last;
  return first + last;
}

// Keeps the best candidate of the step before as centre `step - 1`, and draws those of `step` unless that is k.
template <class T>
__global__ void next_candidates(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride,
                                const RowWeight* weights, const float* shift, const double* draws, std::int64_t k,
                                std::int64_t step, PlusPlus at, float* centres) {
  __shared__ double scratch[32];
  int best = 0;
  if (step > 0) {
    const std::int64_t chunks = (n + kChunk - 1) / kChunk;
    double least = INFINITY;
    for (int candidate = 0; candidate < kCandidates; ++candidate) {
      double sum = 0.0;
      for (std::int64_t chunk = threadIdx.x; chunk < chunks; chunk += kThreads) {
        sum += at.chunk_sums[chunk * kCandidates + candidate];
      }
      sum = block_sum(sum, scratch);
      if (sum < least) least = sum, best = candidate;
    }
    for (std::int64_t j = threadIdx.x; j < d; j += kThreads) centres[(step - 1) * d + j] = at.vectors[best * d + j];
    if (threadIdx.x == 0) {
      *at.best = best;
      at.chosen[step - 1] = at.candidates[best];
    }
  }
  if (step == k) return;
  __syncthreads();
  const int warp = threadIdx.x / 32;
  if (warp < kCandidates) {
    std::int64_t row;
    if (step == 0) {
      row = min(static_cast<std::int64_t>(draws[0] * static_cast<double>(n)), n - 1);
    } else {
      row = draw_row(at, n, best, draws[1 + kCandidates * (step - 1) + warp]);
    }
    if (row < 0) {  // fewer distinct rows than clusters: the lowest row that is no centre yet
      bool taken = true;
      for (row = -1; taken;) {
        ++row;
        taken = false;
        for (std::int64_t i = 0; i < step; ++i) taken |= at.chosen[i] == row;
      }
    }
    if (threadIdx.x % 32 == 0) at.candidates[warp] = row;
  }
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < kCandidates * d; i += kThreads) {
    const std::int64_t row = at.candidates[i / d], j = i % d;
    // The very numbers that squared_distances compares with: a centre is at distance 0 from itself.
    at.vectors[i] = fmaf(to_float(x[row * stride + j]) * weights[row].first, weights[row].second, -shift[j]);
  }
}

template <class T, int V>
__global__ void __launch_bounds__(kPanelThreads)
    reduce_distances(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const RowWeight* weights,
                     const float* shift, bool first_step, PlusPlus at) {
  __shared__ double sums[kPanelWarps][kCandidates];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, candidate = lane % kCandidates;
  constexpr std::int64_t kWarpRows = kChunk / kPanelWarps;
  const std::int64_t begin = blockIdx.x * kChunk + warp * kWarpRows, end = min(n, begin + kWarpRows);
  const int best = first_step ? 0 : *at.best;
  double sum = 0.0;
  for (std::int64_t first = begin; first < end; first += kRowsAtOnce) {
    float parts[kRowsAtOnce][kCandidates], flat[32];
    squared_distances<kRowsAtOnce, kCandidates, V>(x, first, n, d, stride, weights, shift, at.vectors, kCandidates,
                                                   parts);
#pragma unroll
    for (int i = 0; i < 32; ++i) flat[i] = parts[i / kCandidates][i % kCandidates];
    float distance = warp_sums<32>(flat);
    const std::int64_t row = first + lane / kCandidates;
    if (row < end && !first_step) distance = fminf(distance, at.reduced[row * kCandidates + best]);
    __syncwarp();  // the four lanes of a row have read before one of them writes
    if (row >= end) continue;
    at.reduced[row * kCandidates + candidate] = distance;
    sum += distance;
  }
#pragma unroll
  for (int step = kCandidates; step < 32; step *= 2) sum += __shfl_xor_sync(kWarp, sum, step);
  if (lane < kCandidates) sums[warp][candidate] = sum;
  __syncthreads();
  if (threadIdx.x >= kCandidates) return;
  double total = 0.0;
  for (int w = 0; w < kPanelWarps; ++w) total += sums[w][threadIdx.x];
  at.chunk_sums[blockIdx.x * kCandidates + threadIdx.x] = total;
}

}  // namespace

PlusPlus::PlusPlus(Workspace* space, std::int64_t n, std::int64_t d, std::int64_t k) {
  reduced = space->take<float>(n * kCandidates);
  chunk_sums = space->take<double>(divide_up(n, kChunk) * kCandidates);
  vectors = space->take<float>(kCandidates * d);
  candidates = space->take<std::int64_t>(kCandidates);
  chosen = space->take<std::int64_t>(k);
  best = space->take<int>(1);
}

void plus_plus(const Rows& x, const RowWeight* weights, const float* shift, const double* draws, std::int64_t k,
               const PlusPlus& scratch, float* centres, Stream stream) {
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    for (std::int64_t step = 0; step <= k; ++step) {
      launch(next_candidates<T>, dim3(1), kThreads, 0, stream, data, x.n, x.d, x.stride, weights, shift, draws, k, step,
             scratch, centres);
      if (step == k) break;
      launch(reduce_distances<T, width>, grid(divide_up(x.n, kChunk)), kPanelThreads, 0, stream, data, x.n, x.d,
             x.stride, weights, shift, step == 0, scratch);
    }
  });
}

}  // namespace dataprophet::cuda
