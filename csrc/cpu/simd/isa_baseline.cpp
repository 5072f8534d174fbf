#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstdint>
#include <type_traits>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {
namespace {
#include "cpu/simd/table.inl"
}  // namespace

#if defined(__aarch64__)
constexpr Kernels kBaseline = table("neon");
#else
constexpr Kernels kBaseline = table("baseline");
#endif

}  // namespace dataprophet::cpu
