#include "cpu/isa.hpp"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace dataprophet::cpu {
namespace {

#if defined(__x86_64__)
// Whether the CPU has AMX tiles of bfloat16 and bytes and the system lets this process use them (Linux 5.16 and later).
bool amx() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  unsigned a = 7, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  constexpr unsigned kNeeded = 1u << 22 | 1u << 24 | 1u << 25;  // AMX-BF16, AMX-TILE, AMX-INT8
  if ((d & kNeeded) != kNeeded) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// For processors with AVX-512 that have no products of bytes.
Kernels without_bytes(Kernels table) {
  for (RoughTiles& rough : table.byte_tiles) rough = {};
  return table;
}
#endif

std::vector<const Kernels*> usable() {
  std::vector<const Kernels*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");  // every such CPU has F16C too
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bytes = avx512 && __builtin_cpu_supports("avx512vnni");
  const bool bf16 = bytes && __builtin_cpu_supports("avx512bf16");  // no processor has bfloat16 alone
  static const Kernels first_avx512 = without_bytes(kAvx512);
  if (bf16 && amx()) tables.push_back(&kAmx);
  // Intel's products of bfloat16 pairs run at half the rate of products of floats, AMD's at twice.
  if (bf16 && !__builtin_cpu_is("intel")) tables.push_back(&kAvx512Bf16);
  if (avx512) tables.push_back(bytes ? &kAvx512 : &first_avx512);
  if (bf16 && __builtin_cpu_is("intel")) tables.push_back(&kAvx512Bf16);
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
