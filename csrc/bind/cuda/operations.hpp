// The operations as Python calls them: device arrays are checked, and work is enqueued on a stream, given as its
// handle. The caller keeps the arrays alive until then, and allocates results and workspace. These are internal:
// dataprophet/ops/cuda.py validates for the user and words the errors.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

namespace dataprophet::cuda::bindings {

void mean_direction(pybind11::handle x, pybind11::handle out, pybind11::handle bad, pybind11::handle workspace,
                    std::uintptr_t stream);
void cosine_to(pybind11::handle x, pybind11::handle directions, pybind11::handle out, pybind11::handle bad,
               pybind11::handle workspace, std::uintptr_t stream);
void measure_rows(pybind11::handle x, pybind11::handle directions, pybind11::handle groups, pybind11::handle order,
                  pybind11::handle cosines, pybind11::handle lengths, pybind11::handle sums, pybind11::handle workspace,
                  std::uintptr_t stream);
void average_directions(const std::vector<pybind11::object>& fields, pybind11::handle chosen, pybind11::handle weights,
                        pybind11::handle out, pybind11::handle norms, std::uintptr_t stream);
void nearest(pybind11::handle x, pybind11::handle y, pybind11::handle cosine, pybind11::handle index,
             pybind11::handle bad_x, pybind11::handle bad_y, pybind11::handle workspace, std::uintptr_t stream);
void kmeans(pybind11::handle x, pybind11::handle init, pybind11::handle draws, pybind11::handle centroids,
            pybind11::handle labels, pybind11::handle figures, pybind11::handle bad, int max_iter, double tolerance,
            pybind11::handle workspace, std::uintptr_t stream);
void silhouettes(pybind11::handle x, pybind11::handle clusters, pybind11::handle order, pybind11::handle starts,
                 const std::string& metric, pybind11::handle picked, pybind11::handle scores, pybind11::handle means,
                 pybind11::handle bad, pybind11::handle workspace, std::uintptr_t stream);
void cluster_counts(pybind11::handle labels, pybind11::handle counts, std::uintptr_t stream);

std::size_t silhouettes_workspace_bytes(std::int64_t n, std::int64_t d, std::int64_t k, const std::string& metric,
                                        std::int64_t m);

}  // namespace dataprophet::cuda::bindings
