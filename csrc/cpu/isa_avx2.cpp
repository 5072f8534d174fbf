#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "cpu/kernels.hpp"

namespace dataprophet::cpu {
namespace {
#include "cpu/table.inl"
}  // namespace

constexpr Kernels kAvx2 = table("avx2");

}  // namespace dataprophet::cpu
