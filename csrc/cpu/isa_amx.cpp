#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/kernels.hpp"

namespace dataprophet::cpu {
namespace {
#include "cpu/table.inl"
}  // namespace

constexpr Kernels kAmx = table("amx");

}  // namespace dataprophet::cpu
