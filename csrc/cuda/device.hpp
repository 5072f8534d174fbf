// What the CUDA runtime says about this machine. Plain C++, so that the bindings need no CUDA headers.
#pragma once

#include <string>

namespace dataprophet::cuda {

struct Devices {
  int count;
  std::string reason;  // why there is none; empty when there is one
};

Devices device_count();
int runtime_version();  // of the linked runtime, as 1000 * major + 10 * minor
int driver_version();   // the newest CUDA that the installed driver serves, 0 without a driver
const char* architectures();

// Makes a device the current one of this thread for as long as it lives. Throws CudaError.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace dataprophet::cuda
