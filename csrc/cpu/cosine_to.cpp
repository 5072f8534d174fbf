#include "cpu/cosine_to.hpp"

#include <algorithm>
#include <vector>

#include "cpu/mean_direction.hpp"
#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

// [targets][d] -> [panel][d][kPanel], so that one element of a row meets kPanel directions in one load.
std::vector<float> pack(const float* directions, std::int64_t targets, std::int64_t d) {
  const std::int64_t panels = std::max<std::int64_t>(1, (targets + kPanel - 1) / kPanel);  // the norms need one
  std::vector<float> packed(static_cast<std::size_t>(panels * d * kPanel), 0.0f);
  for (std::int64_t t = 0; t < targets; ++t) {
    float* panel = packed.data() + t / kPanel * d * kPanel + t % kPanel;
    for (std::int64_t j = 0; j < d; ++j) panel[j * kPanel] = directions[t * d + j];
  }
  return packed;
}

}  // namespace

BadRows cosine_to(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, const float* directions,
                  std::int64_t targets, int threads, float* out) {
  const Chunks chunks(n, rows.d);
  const std::vector<float> packed = pack(directions, targets, rows.d);
  const CosineRows cosine_rows = kernels.cosine_rows[static_cast<int>(element)];
  std::vector<BadRows> bad(static_cast<std::size_t>(chunks.count));
  const std::int64_t bytes = n * rows.d * (element == Element::f32 ? 4 : 2);
  parallel_for(chunks.count, useful_threads(threads, bytes), [&](std::int64_t chunk) {
    const std::int64_t begin = chunks.begin(chunk);
    cosine_rows(rows, begin, chunks.end(chunk), packed.data(), targets, out + begin * targets,
                &bad[static_cast<std::size_t>(chunk)]);
  });

  BadRows total;
  for (const BadRows& part : bad) merge(&total, part);
  return total;
}

}  // namespace dataprophet::cpu
