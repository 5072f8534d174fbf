// The CUDA operations on the CPU, for ctypes.
#include <cstdint>
#include <exception>
#include <string>

#include "cuda/average_directions.hpp"
#include "cuda/cluster_counts.hpp"
#include "cuda/cosine_to.hpp"
#include "cuda/kmeans.hpp"
#include "cuda/mean_direction.hpp"
#include "cuda/measure_rows.hpp"
#include "cuda/nearest.hpp"
#include "cuda/silhouette.hpp"
#include "emulator.hpp"

namespace cuda = dataprophet::cuda;

namespace {

std::string message;

template <class Body>
const char* guarded(const Body& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace

extern "C" {

void set_order(unsigned order) { emulator::order = order; }

std::size_t mean_direction_workspace_bytes(std::int64_t n, std::int64_t d) {
  return cuda::mean_direction_workspace_bytes(n, d);
}

const char* mean_direction(const cuda::Rows* x, double* out, cuda::BadRows* bad, void* workspace) {
  return guarded([&] { cuda::mean_direction(*x, out, bad, workspace, nullptr); });
}

std::size_t cosine_to_workspace_bytes(std::int64_t targets, std::int64_t d) {
  return cuda::cosine_to_workspace_bytes(targets, d);
}

const char* cosine_to(const cuda::Rows* x, const float* directions, std::int64_t targets, float* out,
                      cuda::BadRows* bad, void* workspace) {
  return guarded([&] { cuda::cosine_to(*x, directions, targets, out, bad, workspace, nullptr); });
}

std::size_t measure_rows_workspace_bytes(std::int64_t n, std::int64_t targets, std::int64_t d) {
  return cuda::measure_rows_workspace_bytes(n, targets, d);
}

const char* measure_rows(const cuda::Rows* x, const float* directions, std::int64_t targets, const std::int64_t* groups,
                         const std::int64_t* order, std::int64_t count, float* cosines, double* lengths,
                         unsigned long long* sums, void* workspace) {
  return guarded([&] {
    cuda::measure_rows(*x, directions, targets, groups, order, count, {cosines, lengths, sums}, workspace, nullptr);
  });
}

const char* average_directions(const cuda::Rows* fields, std::int64_t count, const std::int64_t* chosen, std::int64_t m,
                               const cuda::RowWeight* weights, std::uint16_t* out, float* norms) {
  return guarded(
      [&] { cuda::average_directions(fields, static_cast<int>(count), chosen, m, weights, out, norms, nullptr); });
}

const char* cluster_counts(const std::int64_t* labels, std::int64_t n, std::int64_t k, unsigned long long* counts) {
  return guarded([&] { cuda::cluster_counts(labels, n, k, counts, nullptr); });
}

std::size_t nearest_workspace_bytes(std::int64_t n, std::int64_t m, std::int64_t d) {
  return cuda::nearest_workspace_bytes(n, m, d);
}

const char* nearest(const cuda::Rows* x, const cuda::Rows* y, float* cosine, std::int64_t* index, cuda::BadRows* bad_x,
                    cuda::BadRows* bad_y, void* workspace) {
  return guarded([&] { cuda::nearest(*x, *y, cosine, index, bad_x, bad_y, workspace, nullptr); });
}

std::size_t silhouettes_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k, int metric, std::int64_t m) {
  return cuda::silhouettes_workspace_bytes(n, d, k, static_cast<cuda::Metric>(metric), m);
}

const char* silhouettes(const cuda::Rows* x, const int* labels, const std::int64_t* order, const std::int64_t* starts,
                        std::int64_t k, int metric, const std::int64_t* picked, std::int64_t m, double* scores,
                        double* means, cuda::BadRows* bad, void* workspace) {
  return guarded([&] {
    cuda::silhouettes(*x, {labels, order, starts, k}, static_cast<cuda::Metric>(metric), {picked, m}, scores, means,
                      bad, workspace, nullptr);
  });
}

std::size_t kmeans_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k) {
  return cuda::kmeans_workspace_bytes(n, d, k);
}

const char* kmeans(const cuda::Rows* x, std::int64_t k, const double* init, const double* draws, int max_iter,
                   double tolerance, float* centroids, std::int64_t* labels, double* figures, cuda::BadRows* bad,
                   void* workspace) {
  return guarded([&] {
    cuda::kmeans(*x, {k, init, draws, max_iter, tolerance}, {centroids, labels, figures}, bad, workspace, nullptr);
  });
}
}
