#include "cpu/isa.hpp"

#include <cstdlib>
#include <stdexcept>

namespace dataprophet::cpu {
namespace {

std::vector<const Kernels*> usable() {
  std::vector<const Kernels*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");  // every such CPU has F16C too
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) tables.push_back(&kAvx512);
  if (avx2) tables.push_back(&kAvx2);
#endif
  tables.push_back(&kBaseline);
  return tables;
}

const Kernels& by_name(const std::string& name, const std::string& where) {
  std::string known;
  for (const Kernels* table : usable()) {
    if (name == table->name) return *table;
    known += (known.empty() ? "" : ", ") + std::string(table->name);
  }
  throw std::invalid_argument(where + " is '" + name + "', but this machine has: " + known);
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* table : usable()) names.emplace_back(table->name);
  return names;
}

const Kernels& kernels(const std::string& name) {
  if (!name.empty()) return by_name(name, "isa");
  const char* wanted = std::getenv("DATAPROPHET_ISA");
  if (wanted && *wanted) return by_name(wanted, "DATAPROPHET_ISA");
  static const Kernels& fastest = *usable().front();
  return fastest;
}

}  // namespace dataprophet::cpu
