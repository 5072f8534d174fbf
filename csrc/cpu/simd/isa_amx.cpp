#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {
namespace {
#include "cpu/simd/table.inl"
}  // namespace

constexpr Kernels kAmx = table("amx");

}  // namespace dataprophet::cpu
