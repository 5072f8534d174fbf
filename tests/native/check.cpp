#include "native/check.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cpu/isa.hpp"

namespace dataprophet::check {
namespace {

constexpr const char* kNames[] = {"float32", "float16", "bfloat16"};

// SplitMix64.
std::uint64_t next(std::uint64_t* state) {
  std::uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double uniform(std::uint64_t* state) { return static_cast<double>(next(state) >> 11) * 0x1p-53; }

// Rounded to 11 significant bits and no finer than float16's smallest step: float16, and its bits.
double to_half(double value, std::uint16_t* bits) {
  int exponent = 0;
  std::frexp(value, &exponent);
  const double step = std::ldexp(1.0, exponent - 11 < -24 ? -24 : exponent - 11);
  const double rounded = std::nearbyint(value / step) * step;
  const double magnitude = std::fabs(rounded);
  std::uint16_t code = 0;
  if (magnitude < 0x1p-14) {
    code = static_cast<std::uint16_t>(magnitude * 0x1p24);
  } else {
    const double mantissa = std::frexp(magnitude, &exponent);  // in [0.5, 1)
    code = static_cast<std::uint16_t>(((exponent + 14) << 10) + static_cast<int>((mantissa - 0.5) * 2048.0));
  }
  *bits = static_cast<std::uint16_t>(code | (rounded < 0.0 ? 0x8000 : 0));
  return rounded;
}

double to_bfloat(double value, std::uint16_t* bits) {
  const auto single = static_cast<float>(value);
  std::uint32_t word;
  std::memcpy(&word, &single, sizeof word);
  word = (word + 0x8000u) & 0xffff0000u;
  float rounded;
  std::memcpy(&rounded, &word, sizeof rounded);
  *bits = static_cast<std::uint16_t>(word >> 16);
  return static_cast<double>(rounded);
}

}  // namespace

const void* Drawn::data() const {
  return element == Element::f32 ? static_cast<const void*>(words.data()) : static_cast<const void*>(halves.data());
}

Drawn draw(Element element, std::int64_t n, std::int64_t d, std::uint64_t seed, double shift) {
  const auto size = static_cast<std::size_t>(n * d);
  Drawn x{element, n, d, std::vector<double>(size), {}, {}};
  if (element == Element::f32) {
    x.words.resize(size);
  } else {
    x.halves.resize(size);
  }
  for (std::size_t i = 0; i < size; ++i) {
    const double radius = std::sqrt(-2.0 * std::log1p(-uniform(&seed)));
    const double value = shift + radius * std::cos(6.283185307179586 * uniform(&seed));
    if (element == Element::f32) {
      x.words[i] = static_cast<float>(value);
      x.exact[i] = static_cast<double>(x.words[i]);
    } else {
      x.exact[i] = element == Element::f16 ? to_half(value, &x.halves[i]) : to_bfloat(value, &x.halves[i]);
    }
  }
  return x;
}

std::vector<double> uniforms(std::size_t count, std::uint64_t seed) {
  std::vector<double> values(count);
  for (double& value : values) value = uniform(&seed);
  return values;
}

double dot(const double* a, const double* b, std::int64_t d) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < d; ++j) sum += a[j] * b[j];
  return sum;
}

void Report::error(const char* operation, const Drawn& x, double error, double bound) {
  const bool good = error <= bound;
  failures_ += !good;
  std::printf("%-10s %-14s %-8s %5lld x %-5lld error %.1e%s\n", isa_.c_str(), operation,
              kNames[static_cast<int>(x.element)], static_cast<long long>(x.n), static_cast<long long>(x.d), error,
              good ? "" : "  FAILED");
}

void Report::same_bits(const char* operation, const Drawn& x, const std::vector<std::string>& results) {
  for (const std::string& result : results) {
    if (result == results.front()) continue;
    ++failures_;
    std::printf("%-10s %-14s %-8s %5lld x %-5lld bits depend on the number of threads  FAILED\n", isa_.c_str(),
                operation, kNames[static_cast<int>(x.element)], static_cast<long long>(x.n),
                static_cast<long long>(x.d));
    return;
  }
}

}  // namespace dataprophet::check

// check [ROWS [SETS]]: rows of the largest array, by default enough to occupy several threads, and how many instruction
// sets, the fastest first, by default all.
int main(int count, char** arguments) {
  using namespace dataprophet;
  const std::int64_t rows = count > 1 ? std::atoll(arguments[1]) : 1100;
  const std::int64_t shapes[][2] = {{1, 1}, {3, 5}, {66, 33}, {rows, 771}};
  std::vector<std::string> sets = cpu::available_isas();
  if (count > 2) sets.resize(std::min(sets.size(), static_cast<std::size_t>(std::atoll(arguments[2]))));
  int failures = 0;
  for (const std::string& isa : sets) {
    check::Report report(isa);
    const cpu::Kernels& kernels = cpu::kernels(isa);
    for (const Element element : {Element::f32, Element::f16, Element::bf16}) {
      for (const auto& shape : shapes) {
        const check::Drawn x = check::draw(element, shape[0], shape[1], 1);
        check::check_directions(kernels, x, &report);
        check::check_kmeans(kernels, x, &report);
        check::check_silhouettes(kernels, x, &report);
        check::check_nearest(kernels, x, &report);
        check::check_tokens(kernels, x, &report);
      }
    }
    failures += report.failures();
  }
  check::Report report("-");
  check::check_parallel_for(&report);
  failures += report.failures();
  std::printf("%d failures\n", failures);
  return failures != 0;
}
