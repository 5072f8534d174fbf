#include <immintrin.h>

#include <cstdint>

#include "cpu/kernels.hpp"

namespace dataprophet::cpu {
namespace {
#include "cpu/cosine_rows.inl"
#include "cpu/sum_directions.inl"
}  // namespace

const Kernels kAvx2 = {
    "avx2",
    {sum_directions<float>, sum_directions<Half>, sum_directions<BFloat>},
    {cosine_rows<float>, cosine_rows<Half>, cosine_rows<BFloat>},
};

}  // namespace dataprophet::cpu
