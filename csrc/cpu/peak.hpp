// What this machine can do at most, measured for benchmarks: no operation uses it.
#pragma once

#include <cstdint>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// Multiply-adds of fp32, or of bfloat16 into fp32, on registers alone, on each of so many threads. Returns the number
// of operations of all of them, an addition and a product each; the caller takes the time.
double spin(const Kernels& kernels, bool bfloat, std::int64_t rounds, int threads);

// Reads `bytes` of memory from front to back, a part on each thread. The result means nothing.
std::uint32_t read(const Kernels& kernels, const void* data, std::int64_t bytes, int threads);

}  // namespace dataprophet::cpu
