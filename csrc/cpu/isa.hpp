// cpu/ holds what is compiled once: the drivers, which cut work over threads and merge it, and this choice of the
// instruction set at run time.
#pragma once

#include <string>
#include <vector>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// Names of the instruction sets that this machine can run, the fastest first.
std::vector<std::string> available_isas();

// The kernels of the named instruction set; of DATAPROPHET_ISA, or else the fastest, for an empty name.
// Throws std::invalid_argument for a name that is unknown or that this machine cannot run.
const Kernels& kernels(const std::string& name);

}  // namespace dataprophet::cpu
