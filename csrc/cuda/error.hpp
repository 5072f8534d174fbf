// An error of the CUDA runtime, as one line.
#pragma once

#include <stdexcept>
#include <string>

namespace dataprophet::cuda {

struct CudaError : std::runtime_error {
  explicit CudaError(const std::string& what) : std::runtime_error("CUDA: " + what) {}
};

}  // namespace dataprophet::cuda
