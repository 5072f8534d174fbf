#pragma once

// The function table of the instruction set that the including file is compiled for. Include inside an anonymous
// namespace.
#include "cpu/cosine_rows.inl"
#include "cpu/peak.inl"
#include "cpu/sum_directions.inl"

constexpr Kernels table(const char* name) {
  return {
      name,
      {sum_directions<float>, sum_directions<Half>, sum_directions<BFloat>},
      {cosine_rows<float>, cosine_rows<Half>, cosine_rows<BFloat>},
      spin_float,
      spin_bfloat,
      read_through,
  };
}
