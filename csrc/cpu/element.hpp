// Element types of the arrays that the operations read.
#pragma once

#include <cstdint>

namespace dataprophet {

enum class Element : std::uint8_t { f32, f16, bf16, f64, i32, i64, bytes };

constexpr int kRowElements = 3;  // rows may be f32, f16 or bf16; the others are for results, labels and scratch

inline bool is_row(Element element) { return static_cast<int>(element) < kRowElements; }

}  // namespace dataprophet
