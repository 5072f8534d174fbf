#pragma once

// Sums of a softmax over logits. Include inside an anonymous namespace.
#include "cpu/simd/exponential.inl"

constexpr float kMinusInfinity = -__builtin_inff();

inline Vector finished(Vector x, Vector bias, const Head& head) {
  const Vector z = (x + bias) * splat(head.scale);
  if (head.softcap == 0.0f) return z;
  return splat(head.softcap) * hyperbolic_tangent(z / splat(head.softcap));
}

// Sums of one vector of rows, or of the lanes of one row.
struct Running {
  Vector maximum, total;

  // Adds `count` vectors of logits, `step` floats apart.
  void add(const float* z, int count, std::int64_t step) {
    Vector peak = maximum;
    for (int i = 0; i < count; ++i) {
      const Vector value = load(z + i * step);
      peak = value > peak ? value : peak;
    }
    // What was summed around the old maximum becomes a sum around the new one. Minus infinity would leave NaN.
    const Vector shift = peak == splat(kMinusInfinity) ? Vector{} : peak;
    total *= exponential(maximum - shift);
    maximum = peak;
    Vector sum{};
    for (int i = 0; i < count; ++i) sum += exponential(load(z + i * step) - shift);
    total += sum;
  }
};

inline void finish_column(const LogitTile& tile, int column) {
  for (int t = 0; t < tile.tokens; ++t) {
    float* at = tile.values + static_cast<std::int64_t>(t) * tile.width + column;
    store(at, finished(load(at), tile.head.bias ? splat(tile.head.bias[t]) : Vector{}, tile.head));
  }
}

void finish_logits(const LogitTile& tile) {
  for (int r = 0; r < tile.rows; r += kLanes) finish_column(tile, r);
}

void add_logits(const LogitTile& tile, const LogitSums& sums) {
  const bool plain = tile.head.plain();
  for (int r = 0; r < tile.rows; r += kLanes) {
    if (!plain) finish_column(tile, r);
    Running running{load(sums.maximum + r), load(sums.total + r)};
    running.add(tile.values + r, tile.tokens, tile.width);
    store(sums.maximum + r, running.maximum);
    store(sums.total + r, running.total);
  }
}

template <class T>
void sum_logits(const void* logits, std::int64_t size, const Head& head, std::int64_t target, LaneSums* sums) {
  const auto* row = static_cast<const T*>(logits);
  constexpr std::int64_t kBlock = 32 * kLanes;  // of logits as floats, which stay in L1
  alignas(64) float block[kBlock];
  const bool plain = head.plain();
  const auto logits_at = [&](std::int64_t at) {
    const Vector x = load(row + at);
    return plain ? x : finished(x, head.bias ? load(head.bias + at) : Vector{}, head);
  };
  const auto logits_up_to = [&](std::int64_t at, std::int64_t count) {  // minus infinity beyond
    Vector bias{}, x = load_part(row + at, count);
    if (head.bias) bias = load_part(head.bias + at, count);
    if (!plain) x = finished(x, bias, head);
    return ramp() < splat(static_cast<float>(count)) ? x : splat(kMinusInfinity);
  };
  sums->target = logits_up_to(target, 1)[0];
  Running running{splat(kMinusInfinity), Vector{}};
  for (std::int64_t start = 0; start < size; start += kBlock) {
    const std::int64_t stop = start + kBlock < size ? start + kBlock : size;
    int count = 0;
    std::int64_t at = start;
    for (; at + kLanes <= stop; at += kLanes, ++count) store(block + count * kLanes, logits_at(at));
    if (at < stop) store(block + count++ * kLanes, logits_up_to(at, stop - at));
    running.add(block, count, kLanes);
  }
  store(sums->maximum, running.maximum);
  store(sums->total, running.total);
}
