#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "cpu/kernels.hpp"

namespace dataprophet::cpu {
namespace {
#include "cpu/table.inl"
}  // namespace

constexpr Kernels kAvx512 = table("avx512");

}  // namespace dataprophet::cpu
