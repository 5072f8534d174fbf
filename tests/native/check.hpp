// The compiled operations against plain float64 loops, without Python: for thread sanitizers, and for processors that
// only an emulator runs. Prints a line for each operation; a result beyond its bound, or bits that depend on the number
// of threads, are failures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::check {

constexpr int kThreads[] = {1, 2, 3, 8};

// Rows drawn with a fixed seed, rounded to an element type.
struct Drawn {
  Element element;
  std::int64_t n, d;
  std::vector<double> exact;  // (n, d): what the rounded rows hold
  std::vector<float> words;
  std::vector<std::uint16_t> halves;

  const void* data() const;
  cpu::Rows rows() const { return {data(), d, d}; }
  const double* row(std::int64_t i) const { return exact.data() + i * d; }
};

// Normally distributed around `shift`.
Drawn draw(Element element, std::int64_t n, std::int64_t d, std::uint64_t seed, double shift = 0.1);

// Numbers in [0, 1).
std::vector<double> uniforms(std::size_t count, std::uint64_t seed);

double dot(const double* a, const double* b, std::int64_t d);

// The larger of two errors, and NaN if either is.
inline double worse(double a, double b) { return a != a || a >= b ? a : b; }

template <class T>
std::string bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// Counts and prints the failures of one instruction set.
class Report {
 public:
  explicit Report(std::string isa) : isa_(std::move(isa)) {}
  // `error` of `operation` over x is at most `bound`. NaN is beyond any bound.
  void error(const char* operation, const Drawn& x, double error, double bound);
  // The results for each of kThreads are the same bytes.
  void same_bits(const char* operation, const Drawn& x, const std::vector<std::string>& results);
  int failures() const { return failures_; }

 private:
  std::string isa_;
  int failures_ = 0;
};

void check_directions(const cpu::Kernels& kernels, const Drawn& x, Report* report);
void check_kmeans(const cpu::Kernels& kernels, const Drawn& x, Report* report);
void check_silhouettes(const cpu::Kernels& kernels, const Drawn& x, Report* report);
void check_nearest(const cpu::Kernels& kernels, const Drawn& x, Report* report);
void check_tokens(const cpu::Kernels& kernels, const Drawn& x, Report* report);
void check_parallel_for(Report* report);

}  // namespace dataprophet::check
