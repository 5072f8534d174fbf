// Element types of the arrays that the operations read.
#pragma once

#include <cstdint>

namespace dataprophet {

enum class Element : std::uint8_t { f32, f16, bf16, f64 };

constexpr int kRowElements = 3;  // rows may be f32, f16 or bf16; f64 is for results

}  // namespace dataprophet
