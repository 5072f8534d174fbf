// Scratch memory at the start of a cache line: vector loads from it never straddle two.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace dataprophet::cpu {

struct FreeAligned {
  void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

// `count` zeros.
template <class T>
Aligned<T> zeros(std::int64_t count) {
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
  T* memory = static_cast<T*>(::operator new(bytes > 0 ? bytes : 1, std::align_val_t{64}));
  for (std::int64_t i = 0; i < count; ++i) memory[i] = T{};
  return Aligned<T>(memory);
}

}  // namespace dataprophet::cpu
