// Runs CUDA kernels on the CPU, one block after the other, the threads of a block as fibers of one thread. A fiber
// runs until it meets a barrier or an operation of its whole warp; those check that every thread comes, and to the
// same one. Nothing here knows of the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Of the fiber that runs.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace emulator {

// Order in which blocks, and the threads of a block, take their turns: 0 ascending, 1 descending, others at random.
// A result that depends on it has a race.
inline unsigned order = 0;

constexpr int kWarpSize = 32;

void run(const std::function<void()>& kernel, dim3 grid, int threads, std::size_t shared_bytes);
unsigned char* dynamic_shared();

// Waits for all threads of the block.
void block_barrier(const char* what);

// Waits for all 32 threads of the warp; the last one calls finish(arguments of the lanes 0 to 31).
using Lanes = void* const (&)[kWarpSize];
void warp_operation(const char* what, void* argument, const std::function<void(Lanes)>& finish);

// A copy that lands as late as the program allows.
void copy_later(void* to, const void* from, std::size_t bytes);
void close_copies();
void wait_copies(int open_groups);

[[noreturn]] void fail(const char* what);  // stops the kernel; `run` throws

}  // namespace emulator
