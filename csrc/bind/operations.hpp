// The operations as Python calls them: arrays are checked here, then computed without the GIL. These are internal:
// dataprophet/ops validates for the user, allocates results and words the errors. An argument that is a plain handle
// takes rows of any library (DLPack or the buffer protocol), in float32, float16 or bfloat16 (or its bits as uint16).
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/typed.hpp"

namespace dataprophet::bind {

using Any = pybind11::handle;

Report mean_direction(Any x, const Doubles& out, int threads, const std::string& isa);
Report cosine_to(Any x, const Floats& directions, const Floats& out, int threads, const std::string& isa);
void measure_rows(Any x, const Floats& directions, const Int64s& groups, const Floats& cosines, const Doubles& lengths,
                  const Doubles& sums, int threads, const std::string& isa);
void average_directions(const std::vector<pybind11::object>& fields, const Int64s& chosen, const Floats& scales,
                        const Halves& out, const Floats& norms, int threads, const std::string& isa);
std::pair<Report, Report> nearest(Any x, Any y, const Floats& cosine, const Int64s& index, int threads,
                                  const std::string& isa);

Report silhouettes(Any x, const Int32s& labels, std::int64_t k, const std::string& metric,
                   const std::optional<Int64s>& rows, const Doubles& scores, const std::optional<Doubles>& means,
                   int threads, const std::string& isa);
std::tuple<double, std::int64_t, Report> kmeans(Any x, const std::optional<Doubles>& init, const Doubles& draws,
                                                const Floats& centroids, const Int64s& labels, std::int64_t max_iter,
                                                double tol, int threads, const std::string& isa);

void token_logprobs(Any logits, const Int64s& targets, const std::optional<Floats>& bias, float softcap, float scale,
                    const Floats& logprobs, int threads, const std::string& isa);
void linear_logprobs(Any hidden, Any weight, const Int64s& targets, const std::optional<Floats>& bias, float softcap,
                     float scale, const Floats& logprobs, int threads, const std::string& isa);
void logprob_parts(Any hidden, Any weight, const Int64s& targets, const std::optional<Floats>& bias, float softcap,
                   float scale, const Floats& maximum, const Floats& total, const Floats& target, int threads,
                   const std::string& isa);

void hash_texts(const pybind11::buffer& data, const Int64s& offsets, const Int64s& out, int threads);

// What the machine can do at most, for benchmarks: see cpu/peak.hpp.
double spin(bool bfloat, std::int64_t rounds, int threads, const std::string& isa);
std::uint32_t read(Any x, int threads, const std::string& isa);

}  // namespace dataprophet::bind
