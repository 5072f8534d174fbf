#include "cpu/average_directions.hpp"

#include <algorithm>

#include "cpu/parallel.hpp"

namespace dataprophet::cpu {

void average_directions(const Kernels& kernels, const std::vector<ScaledRows>& fields, const std::int64_t* chosen,
                        std::int64_t m, std::int64_t d, int threads, std::uint16_t* out, float* norms) {
  constexpr std::int64_t kStep = 64;
  const std::int64_t bytes = m * d * 2 * static_cast<std::int64_t>(fields.size());
  parallel_for((m + kStep - 1) / kStep, useful_threads(threads, bytes),
               [&, total = std::vector<float>(static_cast<std::size_t>(d))](std::int64_t block) mutable {
                 for (std::int64_t i = block * kStep; i < std::min(m, (block + 1) * kStep); ++i) {
                   std::fill(total.begin(), total.end(), 0.0f);
                   for (const ScaledRows& field : fields) {
                     if (field.scale[i] == 0.0f) continue;  // what lies there may be anything
                     kernels.add_scaled[static_cast<int>(field.element)](row_at(field.rows, field.element, chosen[i]),
                                                                         field.scale[i], d, total.data());
                   }
                   norms[i] = kernels.unit_halves(total.data(), d, out + i * d);
                 }
               });
}

}  // namespace dataprophet::cpu
