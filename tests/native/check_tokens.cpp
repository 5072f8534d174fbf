#include <cmath>

#include "cpu/linear_logprobs.hpp"
#include "cpu/token_logprobs.hpp"
#include "native/check.hpp"

namespace dataprophet::check {
namespace {

struct Found {
  std::vector<float> logprobs, entropy;
  std::vector<std::int64_t> argmax, rank;

  explicit Found(std::int64_t n) : logprobs(size(n)), entropy(size(n)), argmax(size(n)), rank(size(n)) {}
  cpu::TokenResults results() {
    cpu::TokenResults results;
    results.logprobs = logprobs.data();
    results.entropy = entropy.data();
    results.argmax = argmax.data();
    results.rank = rank.data();
    return results;
  }
  std::string bits() const { return bytes(logprobs) + bytes(entropy) + bytes(argmax) + bytes(rank); }

  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
};

// How far row i is from what its logits say.
double error_of(const Found& found, std::int64_t i, const std::vector<double>& logits, std::int64_t target) {
  double largest = logits[0];
  for (const double z : logits) largest = std::max(largest, z);
  double total = 0.0, weighted = 0.0;
  for (const double z : logits) {
    total += std::exp(z - largest);
    weighted += (z - largest) * std::exp(z - largest);
  }
  const auto row = static_cast<std::size_t>(i), at = static_cast<std::size_t>(target);
  double worst = std::fabs(static_cast<double>(found.logprobs[row]) - (logits[at] - largest - std::log(total)));
  worst = worse(worst, std::fabs(static_cast<double>(found.entropy[row]) - (std::log(total) - weighted / total)));
  worst = worse(worst, largest - logits[static_cast<std::size_t>(found.argmax[row])]);
  constexpr double kTie = 1e-5;  // closer logits may be in either order
  std::int64_t least = 0, most = -1;
  for (const double z : logits) {
    least += z > logits[at] + kTie;
    most += z > logits[at] - kTie;
  }
  return found.rank[row] >= least && found.rank[row] <= most ? worst : 1.0;
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
  Found linear(x.n), given(x.n);
  std::vector<std::string> results;
  for (const int threads : kThreads) {
    cpu::linear_logprobs(kernels, task, threads, linear.results());
    cpu::token_logprobs(kernels, x.element, x.rows(), x.n, columns.data(), {}, threads, given.results());
    results.push_back(linear.bits() + given.bits());
  }
  double worst = 0.0;
  std::vector<double> logits(static_cast<std::size_t>(vocabulary));
  for (std::int64_t i = 0; i < x.n; i += 29) {
    for (std::int64_t j = 0; j < vocabulary; ++j) {
      const auto at = static_cast<std::size_t>(j);
      const double z = (dot(x.row(i), head.row(j), x.d) + static_cast<double>(bias[at])) * static_cast<double>(scale);
      logits[at] = static_cast<double>(kSoftcap) * std::tanh(z / static_cast<double>(kSoftcap));
    }
    worst = worse(worst, error_of(linear, i, logits, targets[static_cast<std::size_t>(i)]));
    worst = worse(worst, error_of(given, i, {x.row(i), x.row(i) + x.d}, columns[static_cast<std::size_t>(i)]));
  }
  report->error("logprobs", x, worst, 5e-6);
  report->same_bits("logprobs", x, results);
}

}  // namespace dataprophet::check
