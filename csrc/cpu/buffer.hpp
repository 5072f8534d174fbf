// Scratch memory at the start of a cache line: vector loads from it never straddle two.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace dataprophet::cpu {

struct FreeAligned {
  void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

inline void* allocate_aligned(std::int64_t bytes) {
  return ::operator new(static_cast<std::size_t>(bytes > 0 ? bytes : 1), std::align_val_t{64});
}

template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

// `count` zeros.
template <class T>
Aligned<T> zeros(std::int64_t count) {
  Aligned<T> memory(static_cast<T*>(allocate_aligned(count * static_cast<std::int64_t>(sizeof(T)))));
  for (std::int64_t i = 0; i < count; ++i) memory[static_cast<std::size_t>(i)] = T{};
  return memory;
}

// Memory that grows and is never filled. A copy is empty, so that each thread that
// copies one gets its own.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) {}
  void* reserve(std::int64_t bytes) {
    if (bytes > size_) {
      data_.reset(allocate_aligned(bytes));
      size_ = bytes;
    }
    return data_.get();
  }
  void* get() const { return data_.get(); }

 private:
  std::unique_ptr<void, FreeAligned> data_;
  std::int64_t size_ = 0;
};

// Packing may write that far behind the last panel.
constexpr std::int64_t kPackOverrun = 64;

inline std::int64_t padded(std::int64_t count, std::int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

}  // namespace dataprophet::cpu
