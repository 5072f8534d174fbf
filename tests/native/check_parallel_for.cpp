#include <atomic>
#include <cstdio>
#include <stdexcept>

#include "cpu/parallel.hpp"
#include "native/check.hpp"

namespace dataprophet::check {
namespace {

std::int64_t sum_of_indices(std::int64_t count, int threads) {
  std::vector<std::int64_t> seen(static_cast<std::size_t>(count), 0);
  cpu::parallel_for(count, threads, [&](std::int64_t i) { seen[static_cast<std::size_t>(i)] += i; });
  std::int64_t sum = 0;  // read here without a lock: the join must order it after every body
  for (const std::int64_t value : seen) sum += value;
  return sum;
}

template <class Error>
bool throws(std::int64_t count, int threads, const std::atomic<bool>& now) {
  try {
    cpu::parallel_for(count, threads, [&](std::int64_t i) {
      if (now && i == count / 2) throw std::runtime_error("body");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  } catch (const Error&) {
    return true;
  }
  return false;
}

std::atomic<bool> wanted{false};

}  // namespace

void check_parallel_for(Report* report) {
  const Drawn none = draw(Element::f32, 0, 0, 0);
  bool good = true;
  for (const int threads : {-1, 0, 1, 2, 3, 8, 64}) {
    for (const std::int64_t count : {0, 1, 2, 7, 1000})
      good = good && sum_of_indices(count, threads) == count * (count - 1) / 2;
    good = good && throws<std::runtime_error>(20, threads, true);
  }
  cpu::interrupted = [] { return wanted.load(); };
  for (const int threads : {1, 3}) {
    wanted = false;
    good = good && !throws<cpu::Interrupted>(250, threads, false);
    wanted = true;
    good = good && throws<cpu::Interrupted>(1000, threads, false);
  }
  // Several callers at once, each with helpers of its own.
  wanted = false;
  std::vector<std::thread> callers;
  std::atomic<int> right{0};
  for (int caller = 0; caller < 4; ++caller) callers.emplace_back([&] { right += sum_of_indices(500, 4) == 124750; });
  for (std::thread& caller : callers) caller.join();
  cpu::interrupted = nullptr;
  report->error("parallel_for", none, good && right == 4 ? 0.0 : 1.0, 0.0);
}

}  // namespace dataprophet::check
