#include <algorithm>
#include <cmath>

#include "cpu/linear_logprobs.hpp"
#include "cpu/token_logprobs.hpp"
#include "native/check.hpp"

namespace dataprophet::check {
namespace {

// How far a log-probability is from what the logits of its row say.
double error_of(float found, const std::vector<double>& logits, std::int64_t target) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double total = 0.0;
  for (const double z : logits) total += std::exp(z - largest);
  return std::fabs(static_cast<double>(found) - (logits[static_cast<std::size_t>(target)] - largest - std::log(total)));
}

}  // namespace

void check_tokens(const cpu::Kernels& kernels, const Drawn& x, Report* report) {
  constexpr float kSoftcap = 20.0f;
  const std::int64_t vocabulary = x.n / 2 + 7;
  const Drawn head = draw(Element::bf16, vocabulary, x.d, 5);
  std::vector<float> bias;
  for (const double value : uniforms(static_cast<std::size_t>(vocabulary), 6))
    bias.push_back(static_cast<float>(value));
  std::vector<std::int64_t> targets, columns;
  for (std::int64_t i = 0; i < x.n; ++i) {
    targets.push_back(i * 5 % vocabulary);
    columns.push_back(i * 5 % x.d);
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(x.d));
  const cpu::LinearTask task{
      x.element, x.rows(), x.n, head.element, head.rows(), vocabulary, targets.data(), {bias.data(), scale, kSoftcap}};
  std::vector<float> linear(targets.size()), given(targets.size());
  cpu::TokenResults of_linear, of_given;
  of_linear.logprobs = linear.data();
  of_given.logprobs = given.data();
  std::vector<std::string> results;
  for (const int threads : kThreads) {
    cpu::linear_logprobs(kernels, task, threads, of_linear);
    cpu::token_logprobs(kernels, x.element, x.rows(), x.n, columns.data(), {}, threads, of_given);
    results.push_back(bytes(linear) + bytes(given));
  }
  double worst = 0.0;
  std::vector<double> logits(static_cast<std::size_t>(vocabulary));
  for (std::int64_t i = 0; i < x.n; i += 29) {
    for (std::int64_t j = 0; j < vocabulary; ++j) {
      const auto at = static_cast<std::size_t>(j);
      const double z = (dot(x.row(i), head.row(j), x.d) + static_cast<double>(bias[at])) * static_cast<double>(scale);
      logits[at] = static_cast<double>(kSoftcap) * std::tanh(z / static_cast<double>(kSoftcap));
    }
    const auto row = static_cast<std::size_t>(i);
    worst = worse(worst, error_of(linear[row], logits, targets[row]));
    worst = worse(worst, error_of(given[row], {x.row(i), x.row(i) + x.d}, columns[row]));
  }
  report->error("logprobs", x, worst, 5e-6);
  report->same_bits("logprobs", x, results);
}

}  // namespace dataprophet::check
