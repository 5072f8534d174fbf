// The operations as Python calls them: arrays are checked here, then computed without the GIL. These are internal:
// dataprophet/ops validates for the user, allocates results and words the errors.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

namespace dataprophet::bind {

// Each returns (zero rows, non-finite rows, first of either or -1).
pybind11::tuple mean_direction(pybind11::handle x, pybind11::handle out, int threads, const std::string& isa);
pybind11::tuple cosine_to(pybind11::handle x, pybind11::handle directions, pybind11::handle out, int threads,
                          const std::string& isa);
// groups: int64, -1 for rows left out. Rows without a direction are known by their lengths.
void measure_rows(pybind11::handle x, pybind11::handle directions, pybind11::handle groups, pybind11::handle cosines,
                  pybind11::handle lengths, pybind11::handle sums, int threads, const std::string& isa);
// Returns such a tuple for x and one for y.
pybind11::tuple nearest(pybind11::handle x, pybind11::handle y, pybind11::handle cosine, pybind11::handle index,
                        int threads, const std::string& isa);
// rows: the rows to score, or None for all; means: (count, 2) for a and b, or None.
pybind11::tuple silhouettes(pybind11::handle x, pybind11::handle labels, std::int64_t k, const std::string& metric,
                            pybind11::object rows, pybind11::handle scores, pybind11::object means, int threads,
                            const std::string& isa);

// Returns (inertia, iterations, (zero rows, non-finite rows, first of either)). init is None for greedy k-means++.
pybind11::tuple kmeans(pybind11::handle x, const pybind11::object& init, pybind11::handle draws,
                       pybind11::handle centroids, pybind11::handle labels, std::int64_t max_iter, double tol,
                       int threads, const std::string& isa);

// targets: int64; bias: float32 or None; softcap: 0 for none. Results are written into the arrays; entropy, argmax and
// rank are all None or none is.
void token_logprobs(pybind11::handle logits, pybind11::handle targets, const pybind11::object& bias, float softcap,
                    float scale, pybind11::handle logprobs, const pybind11::object& entropy,
                    const pybind11::object& argmax, const pybind11::object& rank, int threads, const std::string& isa);
void linear_logprobs(pybind11::handle hidden, pybind11::handle weight, pybind11::handle targets,
                     const pybind11::object& bias, float softcap, float scale, pybind11::handle logprobs,
                     const pybind11::object& entropy, const pybind11::object& argmax, const pybind11::object& rank,
                     int threads, const std::string& isa);
// A target may be no row of the weight.
void logprob_parts(pybind11::handle hidden, pybind11::handle weight, pybind11::handle targets,
                   const pybind11::object& bias, float softcap, float scale, pybind11::handle maximum,
                   pybind11::handle total, pybind11::handle target, int threads, const std::string& isa);

// data: bytes; out: int64, whose bits are those of the hashes.
void average_directions(const pybind11::sequence& fields, pybind11::handle chosen, pybind11::handle scales,
                        pybind11::handle out, pybind11::handle norms, int threads, const std::string& isa);
void hash_texts(const pybind11::buffer& data, pybind11::handle offsets, pybind11::handle out, int threads);

// What the machine can do at most, for benchmarks: see cpu/peak.hpp.
double spin(bool bfloat, std::int64_t rounds, int threads, const std::string& isa);
std::uint32_t read(pybind11::handle x, int threads, const std::string& isa);

}  // namespace dataprophet::bind
