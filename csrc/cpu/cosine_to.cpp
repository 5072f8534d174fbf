#include "cpu/cosine_to.hpp"

#include <vector>

#include "cpu/mean_direction.hpp"
#include "cpu/packed_directions.hpp"
#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
BadRows cosine_to(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, const float* directions,
                  std::int64_t targets, int threads, float* out) {
  const Chunks chunks(n, rows.d);
  const PackedDirections packed(directions, targets, rows.d, kernels.amx && element == Element::bf16);
  const CosineRows cosine_rows = kernels.cosine_rows[static_cast<int>(element)];
  std::vector<BadRows> bad(static_cast<std::size_t>(chunks.count));
  const std::int64_t bytes = n * rows.d * (element == Element::f32 ? 4 : 2);
  parallel_for(chunks.count, useful_threads(threads, bytes), [&](std::int64_t chunk) {
    const std::int64_t begin = chunks.begin(chunk);
    cosine_rows(rows, begin, chunks.end(chunk), packed.view(), out + begin * targets,
                &bad[static_cast<std::size_t>(chunk)]);
  });

  BadRows total;
  for (const BadRows& part : bad) merge(&total, part);
  return total;
}

}  // namespace dataprophet::cpu
