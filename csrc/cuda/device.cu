#include <cuda_runtime.h>

#include "cuda/device.hpp"
#include "cuda/launch.cuh"

namespace dataprophet::cuda {

Devices device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();  // clears the error, which is sticky and would show up in a later call
    return {0, cudaGetErrorString(status)};
  }
  return {count, count > 0 ? "" : "no CUDA device is visible"};
}

int runtime_version() {
  int version = 0;
  return cudaRuntimeGetVersion(&version) == cudaSuccess ? version : 0;
}

int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

const char* architectures() { return DATAPROPHET_CUDA_ARCHITECTURES; }

DeviceGuard::DeviceGuard(int device) {
  check(cudaGetDevice(&before_));
  // To set a device, the one from before too, makes a context there: only where it is another.
  changed_ = before_ != device;
  if (changed_) check(cudaSetDevice(device));
}

DeviceGuard::~DeviceGuard() {
  if (changed_) cudaSetDevice(before_);
}

}  // namespace dataprophet::cuda
