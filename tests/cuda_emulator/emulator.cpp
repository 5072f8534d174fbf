#include "emulator.hpp"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace emulator {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr std::size_t kStackBytes = 256 << 10;

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};

enum class State { ready, waiting, done };

struct Fiber {
  std::unique_ptr<unsigned char[]> stack{new unsigned char[kStackBytes]};
  ucontext_t context;
  jmp_buf place;
  bool started = false;
  State state = State::done;
  const char* waits_for = "";
  std::deque<std::vector<Copy>> groups;
  std::vector<Copy> open;
};

struct Warp {
  int arrived = 0;
  const char* what = nullptr;
  void* arguments[kWarpSize];
};

std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Warp> warps;
const std::function<void()>* body;
std::unique_ptr<unsigned char[]> shared;
ucontext_t scheduler_context;
jmp_buf scheduler_place;
int current, block_threads, at_barrier;
const char* barrier;
std::string failure;

// swapcontext asks the kernel for the signal mask each time; jumping does not, and AddressSanitizer knows only the
// former.
__attribute__((noinline)) void give_way() {
  Fiber& fiber = *fibers[static_cast<std::size_t>(current)];
  if (kSanitized) {
    swapcontext(&fiber.context, &scheduler_context);
  } else if (!_setjmp(fiber.place)) {
    _longjmp(scheduler_place, 1);
  }
}

void fiber_main() {
  for (;;) {
    (*body)();
    fibers[static_cast<std::size_t>(current)]->state = State::done;
    give_way();
  }
}

void prepare(Fiber& fiber) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
}

__attribute__((noinline)) void resume(int thread) {
  current = thread;
  threadIdx = {static_cast<unsigned>(thread), 0, 0};
  Fiber* fiber = fibers[static_cast<std::size_t>(thread)].get();
  if (kSanitized) {
    swapcontext(&scheduler_context, &fiber->context);
  } else if (!_setjmp(scheduler_place)) {
    if (fiber->started) _longjmp(fiber->place, 1);
    fiber->started = true;
    setcontext(&fiber->context);
  }
}

void abandon(const std::string& reason) {
  fibers.clear();  // those that wait are not to be resumed
  throw std::runtime_error(reason);
}

std::vector<unsigned> turns(unsigned count, unsigned seed) {
  std::vector<unsigned> order_of(count);
  std::iota(order_of.begin(), order_of.end(), 0u);
  if (order == 1) std::reverse(order_of.begin(), order_of.end());
  if (order > 1) std::shuffle(order_of.begin(), order_of.end(), std::mt19937(order * 7919u + seed));
  return order_of;
}

void run_block(const std::vector<unsigned>& order_of) {
  for (const unsigned thread : order_of) {
    Fiber& fiber = *fibers[thread];
    fiber.state = State::ready;
    fiber.groups.clear();
    fiber.open.clear();
  }
  warps.assign(static_cast<std::size_t>(block_threads / kWarpSize), Warp());
  at_barrier = 0;
  for (int done = 0; done < block_threads;) {
    bool moved = false;
    for (const unsigned thread : order_of) {
      if (fibers[thread]->state != State::ready) continue;
      resume(static_cast<int>(thread));
      moved = true;
      if (!failure.empty()) abandon(failure);
      if (fibers[thread]->state == State::done) ++done;
    }
    if (moved) continue;
    const auto waiting =
        std::find_if(fibers.begin(), fibers.end(), [](const auto& fiber) { return fiber->state == State::waiting; });
    abandon(std::string("threads wait for others at ") + (*waiting)->waits_for + ", but " + std::to_string(done) +
            " threads have ended");
  }
}

}  // namespace

void fail(const char* what) {
  failure = what;
  for (;;) give_way();
}

unsigned char* dynamic_shared() { return shared.get(); }

void run(const std::function<void()>& kernel, dim3 grid, int threads, std::size_t shared_bytes) {
  if (threads < 1 || threads > 1024 || threads % kWarpSize) throw std::runtime_error("a block of no whole warps");
  if (grid.y > 65535 || grid.z != 1 || grid.x > 2147483647u) throw std::runtime_error("a grid that CUDA refuses");
  if (shared_bytes > (227u << 10)) throw std::runtime_error("more shared memory than a block may have");
  while (fibers.size() < static_cast<std::size_t>(threads)) {
    fibers.push_back(std::make_unique<Fiber>());
    prepare(*fibers.back());
  }
  body = &kernel;
  block_threads = threads;
  blockDim = dim3(static_cast<unsigned>(threads));
  gridDim = grid;
  failure.clear();
  const std::vector<unsigned> order_of_blocks = turns(grid.x, 1);
  const std::vector<unsigned> order_of_threads = turns(blockDim.x, 2);
  for (unsigned y = 0; y < grid.y; ++y) {
    for (const unsigned x : order_of_blocks) {
      blockIdx = {x, y, 0};
      shared.reset(new unsigned char[shared_bytes]);
      std::memset(shared.get(), 0xff, shared_bytes);  // NaN, as nobody may count on anything
      run_block(order_of_threads);
    }
  }
  shared.reset();
}

void block_barrier(const char* what) {
  if (at_barrier > 0 && std::strcmp(what, barrier) != 0) fail("threads of a block meet at different barriers");
  barrier = what;
  Fiber& mine = *fibers[static_cast<std::size_t>(current)];
  mine.waits_for = what;
  if (++at_barrier < block_threads) {
    mine.state = State::waiting;
    give_way();
    return;
  }
  at_barrier = 0;
  for (int i = 0; i < block_threads; ++i) {
    Fiber& fiber = *fibers[static_cast<std::size_t>(i)];
    if (fiber.state == State::done) fail("a barrier that some threads never reach");
    fiber.state = State::ready;
  }
}

void warp_operation(const char* what, void* argument, const std::function<void(Lanes)>& finish) {
  Warp& warp = warps[static_cast<std::size_t>(current / kWarpSize)];
  if (warp.arrived > 0 && std::strcmp(what, warp.what) != 0) fail("threads of a warp meet at different operations");
  warp.what = what;
  warp.arguments[current % kWarpSize] = argument;
  Fiber& mine = *fibers[static_cast<std::size_t>(current)];
  mine.waits_for = what;
  if (++warp.arrived < kWarpSize) {
    mine.state = State::waiting;
    give_way();
    return;
  }
  finish(warp.arguments);
  warp.arrived = 0;
  const int first = current / kWarpSize * kWarpSize;
  for (int i = first; i < first + kWarpSize; ++i) fibers[static_cast<std::size_t>(i)]->state = State::ready;
}

void copy_later(void* to, const void* from, std::size_t bytes) {
  fibers[static_cast<std::size_t>(current)]->open.push_back({to, from, bytes});
}

void close_copies() {
  Fiber& fiber = *fibers[static_cast<std::size_t>(current)];
  fiber.groups.push_back(std::move(fiber.open));
  fiber.open.clear();
}

void wait_copies(int open_groups) {
  Fiber& fiber = *fibers[static_cast<std::size_t>(current)];
  while (fiber.groups.size() > static_cast<std::size_t>(open_groups)) {
    for (const Copy& copy : fiber.groups.front()) std::memcpy(copy.to, copy.from, copy.bytes);
    fiber.groups.pop_front();
  }
}

}  // namespace emulator
