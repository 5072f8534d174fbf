#include <pybind11/pybind11.h>

#include "cuda/device.hpp"

namespace py = pybind11;
namespace cuda = dataprophet::cuda;

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  m.attr("__version__") = DATAPROPHET_VERSION;
  m.attr("architectures") = cuda::architectures();
  m.def(
      "device_count",
      [] {
        const cuda::Devices devices = cuda::device_count();
        return py::make_tuple(devices.count, devices.reason);
      },
      "Number of CUDA devices, and why there is none");
  m.def("runtime_version", &cuda::runtime_version);
  m.def("driver_version", &cuda::driver_version);
}
