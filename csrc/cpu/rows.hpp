// The rows that operations read.
#pragma once

#include <cstdint>

#include "cpu/element.hpp"

namespace dataprophet::cpu {

// Rows that have no direction. They are counted and left out; the caller decides what to do.
struct BadRows {
  std::int64_t zero = 0;
  std::int64_t nonfinite = 0;
  std::int64_t first = -1;
};

// Rows of an (n, d) array with unit inner stride.
struct Rows {
  const void* data;
  std::int64_t stride;  // between rows, in elements; may be negative
  std::int64_t d;
};

inline int element_bytes(Element element) { return element == Element::f32 ? 4 : 2; }

inline const void* row_at(const Rows& rows, Element element, std::int64_t index) {
  return static_cast<const char*>(rows.data) + index * rows.stride * element_bytes(element);
}

}  // namespace dataprophet::cpu
