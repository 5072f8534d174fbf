#include <limits>
#include <optional>

#include "bind/arguments.hpp"
#include "bind/array.hpp"
#include "bind/operations.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear_logprobs.hpp"
#include "cpu/token_logprobs.hpp"

namespace py = pybind11;

namespace dataprophet::bind {
namespace {

constexpr std::int64_t kMostTokens = std::numeric_limits<std::int32_t>::max();

cpu::Head head_of(const std::optional<Array>& bias, float softcap, float scale, std::int64_t vocabulary) {
  require(softcap >= 0.0f, "softcap must not be negative");
  if (!bias) return {nullptr, scale, softcap};
  require(bias->ndim() == 1 && bias->shape(0) == vocabulary && bias->element() == Element::f32 && contiguous(*bias),
          "bias must be a contiguous float32 array of an element for each token");
  return {static_cast<const float*>(bias->data()), scale, softcap};
}

const std::int64_t* targets_of(const Array& targets, std::int64_t n) {
  require(targets.ndim() == 1 && targets.shape(0) == n && targets.element() == Element::i64 && contiguous(targets),
          "targets must be a contiguous int64 array of an element for each row");
  return static_cast<const std::int64_t*>(targets.data());
}

void require_tokens(const std::int64_t* targets, std::int64_t n, std::int64_t vocabulary) {
  require(vocabulary <= kMostTokens, "there are too many tokens");
  for (std::int64_t i = 0; i < n; ++i) {
    require(targets[i] >= 0 && targets[i] < vocabulary, "targets must be in [0, V)");
  }
}

float* result_of(const Array& result, std::int64_t n) {
  require(result.ndim() == 1 && result.shape(0) == n && result.element() == Element::f32 && contiguous(result) &&
              !result.readonly(),
          "results must be contiguous float32 arrays of an element for each row");
  return result.writable<float>();
}

cpu::LinearTask linear_task(const Array& hidden, const Array& weight, const Array& targets,
                            const std::optional<Array>& bias, float softcap, float scale) {
  const cpu::Rows rows = rows_of(hidden), tokens = rows_of(weight);
  require(rows.d == tokens.d, "hidden and weight must have the same columns");
  require(weight.shape(0) <= kMostTokens, "there are too many tokens");
  return {hidden.element(),
          rows,
          hidden.shape(0),
          weight.element(),
          tokens,
          weight.shape(0),
          targets_of(targets, hidden.shape(0)),
          head_of(bias, softcap, scale, weight.shape(0))};
}

}  // namespace

void token_logprobs(Any logits_object, const Int64s& targets_object, const std::optional<Floats>& bias_object,
                    float softcap, float scale, const Floats& logprobs_object, int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array logits(logits_object), targets(targets_object), logprobs(logprobs_object);
  const auto bias = optional_array(bias_object);
  const cpu::Rows rows = rows_of(logits);
  const std::int64_t n = logits.shape(0);
  const std::int64_t* at = targets_of(targets, n);
  require_tokens(at, n, rows.d);
  const cpu::Head head = head_of(bias, softcap, scale, rows.d);
  cpu::TokenResults results;
  results.logprobs = result_of(logprobs, n);
  const py::gil_scoped_release nogil;
  cpu::token_logprobs(kernels, logits.element(), rows, n, at, head, threads, results);
}

void linear_logprobs(Any hidden_object, Any weight_object, const Int64s& targets_object,
                     const std::optional<Floats>& bias_object, float softcap, float scale,
                     const Floats& logprobs_object, int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array hidden(hidden_object), weight(weight_object), targets(targets_object), logprobs(logprobs_object);
  const auto bias = optional_array(bias_object);
  const cpu::LinearTask task = linear_task(hidden, weight, targets, bias, softcap, scale);
  require_tokens(task.targets, task.n, task.vocabulary);
  cpu::TokenResults results;
  results.logprobs = result_of(logprobs, task.n);
  const py::gil_scoped_release nogil;
  cpu::linear_logprobs(kernels, task, threads, results);
}

void logprob_parts(Any hidden_object, Any weight_object, const Int64s& targets_object,
                   const std::optional<Floats>& bias_object, float softcap, float scale, const Floats& maximum_object,
                   const Floats& total_object, const Floats& target_object, int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array hidden(hidden_object), weight(weight_object), targets(targets_object);
  const Array maximum(maximum_object), total(total_object), target(target_object);
  const auto bias = optional_array(bias_object);
  const cpu::LinearTask task = linear_task(hidden, weight, targets, bias, softcap, scale);
  cpu::TokenResults results;
  results.maximum = result_of(maximum, task.n);
  results.total = result_of(total, task.n);
  results.target = result_of(target, task.n);
  const py::gil_scoped_release nogil;
  cpu::linear_logprobs(kernels, task, threads, results);
}

}  // namespace dataprophet::bind
