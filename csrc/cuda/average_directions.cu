#include "cuda/average_directions.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/load.cuh"
#include "cuda/reduce.cuh"

namespace dataprophet::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

struct Fields {
  Rows rows[kMostFields];
  int count;
};

__device__ inline float element_of(const void* row, Element element, std::int64_t j) {
  if (element == Element::f32) return static_cast<const float*>(row)[j];
  if (element == Element::f16) return to_float(static_cast<const __half*>(row)[j]);
  return to_float(static_cast<const __nv_bfloat16*>(row)[j]);
}

// A warp for each row, which is read twice: for the length, and, from a cache, for the result.
__global__ void average_directions_kernel(Fields fields, const std::int64_t* chosen, std::int64_t m, std::int64_t d,
                                          const RowWeight* weights, std::uint16_t* out, float* norms) {
  const int lane = threadIdx.x % 32;
  const std::int64_t i = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  if (i >= m) return;
  const void* row[kMostFields];
  RowWeight weight[kMostFields];
#pragma unroll
  for (int f = 0; f < kMostFields; ++f) {
    const Rows& given = fields.rows[f];
    const std::int64_t bytes = given.element == Element::f32 ? 4 : 2;
    row[f] = static_cast<const char*>(given.data) + chosen[i] * given.stride * bytes;
    weight[f] = f < fields.count ? weights[f * m + i] : RowWeight{0.0f, 0.0f};
  }
  const auto sum_at = [&](std::int64_t j) {
    float sum = 0.0f;
#pragma unroll
    for (int f = 0; f < kMostFields; ++f) {
      if (weight[f].second == 0.0f) continue;
      sum = fmaf(element_of(row[f], fields.rows[f].element, j) * weight[f].first, weight[f].second, sum);
    }
    return sum;
  };
  float squared = 0.0f;
  for (std::int64_t j = lane; j < d; j += 32) {
    const float sum = sum_at(j);
    squared = fmaf(sum, sum, squared);
  }
  const float norm = static_cast<float>(sqrt(static_cast<double>(warp_sum(squared))));
  const float scale = norm > 0.0f ? 1.0f / norm : 0.0f;
  for (std::int64_t j = lane; j < d; j += 32) {
    const __half half = __float2half_rn(sum_at(j) * scale);
    memcpy(&out[i * d + j], &half, sizeof half);
  }
  if (lane == 0) norms[i] = norm;
}

}  // namespace

void average_directions(const Rows* fields, int count, const std::int64_t* chosen, std::int64_t m,
                        const RowWeight* weights, std::uint16_t* out, float* norms, Stream stream) {
  if (count < 1 || count > kMostFields) throw CudaError("expected 1 to 4 fields, got " + std::to_string(count));
  Fields given{};
  given.count = count;
  for (int f = 0; f < kMostFields; ++f) given.rows[f] = fields[f < count ? f : 0];
  launch(average_directions_kernel, grid(divide_up<std::int64_t>(m, kWarps)), kThreads, 0, stream, given, chosen, m,
         given.rows[0].d, weights, out, norms);
}

}  // namespace dataprophet::cuda
