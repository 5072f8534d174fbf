// Scratch memory.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace dataprophet::cpu {

// Memory aligned to lines of the cache, which grows and is never filled. A copy is empty, so that each thread that
// copies one gets its own.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) {}
  void* reserve(std::int64_t bytes) {
    if (bytes > size_) {
      data_.reset(::operator new(static_cast<std::size_t>(bytes), std::align_val_t{64}));
      size_ = bytes;
    }
    return data_.get();
  }
  void* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<void, Free> data_;
  std::int64_t size_ = 0;
};

// Packing may write that far behind the last panel.
constexpr std::int64_t kPackOverrun = 64;

inline std::int64_t padded(std::int64_t count, std::int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

}  // namespace dataprophet::cpu
