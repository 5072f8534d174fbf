#pragma once

// The function table of the instruction set that the including file is compiled for. Include inside an anonymous
// namespace.
#include "cpu/cosine_rows.inl"
#if defined(__AMX_BF16__)
#include "cpu/cosine_amx.inl"
#endif
#include "cpu/lloyd_rows.inl"
#include "cpu/seed_rows.inl"
#include "cpu/sum_directions.inl"

constexpr Kernels table(const char* name) {
  return {
      name,
      {sum_directions<float>, sum_directions<Half>, sum_directions<BFloat>},
#if defined(__AMX_BF16__)
      {cosine_rows<float>, cosine_rows<Half>, cosine_rows_amx},
      true,
#else
      {cosine_rows<float>, cosine_rows<Half>, cosine_rows<BFloat>},
      false,
#endif
      {sum_rows<float>, sum_rows<Half>, sum_rows<BFloat>},
      {read_row<float>, read_row<Half>, read_row<BFloat>},
      {seed_rows<float>, seed_rows<Half>, seed_rows<BFloat>},
      {lloyd_rows<float>, lloyd_rows<Half>, lloyd_rows<BFloat>},
      {spread_rows<float>, spread_rows<Half>, spread_rows<BFloat>},
  };
}
