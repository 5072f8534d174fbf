// The rows of an array as points: checked, and scaled so that fp32 holds their squares.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

enum class Scale {
  common,     // one power of two for all rows: none is longer than 1
  direction,  // each row divided by its length
};

class Points {
 public:
  // Looks at all rows. With Scale::direction a zero row counts as bad.
  Points(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, Scale scale, int threads);

  const BadRows& bad() const { return bad_; }
  std::int64_t n() const { return n_; }
  std::int64_t d() const { return rows_.d; }
  double unit() const { return common_; }  // what a length of 1 was multiplied by, under Scale::common
  Element element() const { return element_; }

  // Where `count` rows lie, and the factor of each.
  void gather(const std::int64_t* indices, std::int64_t count, const void** rows, float* scale) const;

 private:
  void bring_near(std::int64_t row, double squared_norm);

  Element element_;
  Rows rows_;
  std::int64_t n_;
  BadRows bad_;
  float common_ = 1.0f;
  std::vector<float> factors_;  // under Scale::direction
  std::unordered_map<std::int64_t, std::vector<std::uint32_t>>
      near_;  // rows whose factor no float holds, brought nearer
};

}  // namespace dataprophet::cpu
