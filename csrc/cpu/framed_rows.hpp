// The rows that an operation on clusters works on, and the frame that it sees them in.
#pragma once

#include "cpu/buffer.hpp"
#include "cpu/parallel.hpp"
#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

struct FramedRows {
  const Kernels& kernels;
  Element element;
  Rows rows;
  std::int64_t n;
  Chunks chunks;
  int threads;  // those that are worth starting
  Frame frame;

  int type() const { return static_cast<int>(element); }
};

}  // namespace dataprophet::cpu
