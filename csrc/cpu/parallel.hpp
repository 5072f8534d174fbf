// Work on several threads. No pool and no OpenMP: nothing outlives a call, so that a fork afterwards is safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace dataprophet::cpu {

// Thrown out of an operation that the user interrupts; the caller knows more of it.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

// Asks whether the user wants the operation on this thread to stop. Set once, by the module; null where nobody asks.
inline bool (*interrupted)() = nullptr;

// Asks `interrupted`, at most ten times a second, and throws. Operations may be many short loops: what counts is the
// time since it was last asked, not since the loop began.
inline void stop_if_interrupted() {
  using Clock = std::chrono::steady_clock;
  static thread_local Clock::time_point asked;
  if (!interrupted || Clock::now() - asked < std::chrono::milliseconds(100)) return;
  asked = Clock::now();
  if (interrupted()) throw Interrupted();
}

// How many threads are worth starting for this much memory traffic.
inline int useful_threads(int wanted, std::int64_t bytes) {
  constexpr std::int64_t kBytesPerThread = std::int64_t{1} << 20;
  return static_cast<int>(std::clamp<std::int64_t>(bytes / kBytesPerThread, 1, std::max(wanted, 1)));
}

// Calls body(i) once for each i in [0, count), on the caller's thread and up to threads - 1 others. Which thread runs
// which i is not fixed: body must not depend on it. Each thread has a copy of body, and so of the scratch memory that a
// mutable lambda holds. The caller's thread stops between two calls if it is interrupted: a call should take no longer
// than a tenth of a second.
template <class Body>
void parallel_for(std::int64_t count, int threads, const Body& body) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto work = [&](bool caller) noexcept {
    try {
      Body own = body;
      for (std::int64_t i; (i = next.fetch_add(1)) < count;) {
        own(i);
        if (caller) stop_if_interrupted();
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
      next.store(count);
    }
  };
  std::vector<std::thread> helpers;
  const std::int64_t extra = std::min<std::int64_t>(threads, count) - 1;
  if (extra > 0) helpers.reserve(static_cast<std::size_t>(extra));
  try {
    for (std::int64_t i = 0; i < extra; ++i) helpers.emplace_back(work, false);
  } catch (const std::system_error&) {
    // The system refused a thread: those that run share its part.
  }
  work(true);
  for (std::thread& helper : helpers) helper.join();
  if (error) std::rethrow_exception(error);
}

// Rows [0, n) cut into at most 64 chunks. The cut depends on the array alone, never on the number of threads, so that
// results combined in the order of the chunks are the same bits for any number of threads.
struct Chunks {
  std::int64_t n, rows, count;

  Chunks(std::int64_t n_rows, std::int64_t d) : n(n_rows) {
    constexpr std::int64_t kMaxChunks = 64, kMinElements = 1 << 16;
    const std::int64_t least = std::max<std::int64_t>(64, kMinElements / std::max<std::int64_t>(d, 1));
    rows = std::max(least, (n + kMaxChunks - 1) / kMaxChunks);
    count = (n + rows - 1) / rows;
  }
  std::int64_t begin(std::int64_t chunk) const { return chunk * rows; }
  std::int64_t end(std::int64_t chunk) const { return std::min(n, (chunk + 1) * rows); }
};

}  // namespace dataprophet::cpu
