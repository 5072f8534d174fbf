#pragma once

// Sums of a softmax over logits. Include inside an anonymous namespace.
#include "cpu/simd/exponential.inl"

typedef std::int32_t Integers __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t LooseIntegers __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));

inline Integers load_integers(const std::int32_t* p) { return *reinterpret_cast<const LooseIntegers*>(p); }
inline void store_integers(std::int32_t* p, Integers v) { *reinterpret_cast<LooseIntegers*>(p) = v; }
inline Integers splat_integer(std::int32_t value) { return value - Integers{}; }

constexpr float kMinusInfinity = -__builtin_inff();

inline Vector finished(Vector x, Vector bias, const Head& head) {
  const Vector z = (x + bias) * splat(head.scale);
  if (head.softcap == 0.0f) return z;
  return splat(head.softcap) * hyperbolic_tangent(z / splat(head.softcap));
}

// Sums of one vector of rows, or of the lanes of one row.
template <bool details>
struct Running {
  Vector maximum, total, weighted;
  Integers argmax, exceeded;

  // What was summed around `maximum` becomes sums around `peak`, which is no less; returns the number to take from
  // logits: `peak`, but not minus infinity, which would leave NaN.
  Vector raise(Vector peak) {
    const Vector shift = peak == splat(kMinusInfinity) ? Vector{} : peak;
    const Vector apart = maximum - shift, fade = exponential(apart);
    if (details) weighted = fade == Vector{} ? Vector{} : fade * (weighted + apart * total);
    total *= fade;
    maximum = peak;
    return shift;
  }

  // Adds `count` vectors of logits, `step` floats apart; the tokens of one are `ahead` and 1 or 0 times the lane on.
  void add(const float* z, int count, std::int64_t step, Integers token, std::int32_t ahead, Vector target) {
    Vector peak = maximum;
    for (int i = 0; i < count; ++i) {
      const Vector value = load(z + i * step);
      if (details) {
        exceeded -= value > target;
        argmax = value > peak ? token : argmax;
        token += ahead;
      }
      peak = value > peak ? value : peak;
    }
    const Vector shift = raise(peak);
    Vector sum{}, moment{};
    for (int i = 0; i < count; ++i) {
      const Vector apart = load(z + i * step) - shift, share = exponential(apart);
      sum += share;
      if (details) moment += share == Vector{} ? Vector{} : apart * share;  // not 0 times minus infinity
    }
    total += sum;
    if (details) weighted += moment;
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

template <bool details>
inline void add_logits_of(const LogitTile& tile, std::int32_t first, const float* targets, const LogitSums& sums) {
  const bool plain = tile.head.plain();
  for (int r = 0; r < tile.rows; r += kLanes) {
    if (!plain) finish_column(tile, r);
    Running<details> running{load(sums.maximum + r), load(sums.total + r), {}, {}, {}};
    if (details) {
      running.weighted = load(sums.weighted + r);
      running.argmax = load_integers(sums.argmax + r);
      running.exceeded = load_integers(sums.exceeded + r);
    }
    running.add(tile.values + r, tile.tokens, tile.width, splat_integer(first), 1,
                details ? load(targets + r) : Vector{});
    store(sums.maximum + r, running.maximum);
    store(sums.total + r, running.total);
    if (details) {
      store(sums.weighted + r, running.weighted);
      store_integers(sums.argmax + r, running.argmax);
      store_integers(sums.exceeded + r, running.exceeded);
    }
  }
}

void add_logits(const LogitTile& tile, std::int32_t first, const float* targets, const LogitSums& sums) {
  if (sums.weighted) {
    add_logits_of<true>(tile, first, targets, sums);
  } else {
    add_logits_of<false>(tile, first, targets, sums);
  }
}

template <class T, bool details>
inline void sum_logits_of(const T* row, std::int64_t size, const Head& head, std::int64_t target, LaneSums* sums) {
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
  const Vector reference = splat(sums->target);
  Integers token{};
  for (int i = 0; i < kLanes; ++i) token[i] = i;
  Running<details> running{splat(kMinusInfinity), Vector{}, Vector{}, token, Integers{}};
  for (std::int64_t start = 0; start < size; start += kBlock) {
    const std::int64_t stop = start + kBlock < size ? start + kBlock : size;
    int count = 0;
    std::int64_t at = start;
    for (; at + kLanes <= stop; at += kLanes, ++count) store(block + count * kLanes, logits_at(at));
    if (at < stop) store(block + count++ * kLanes, logits_up_to(at, stop - at));
    running.add(block, count, kLanes, token + static_cast<std::int32_t>(start), kLanes, reference);
  }
  store(sums->maximum, running.maximum);
  store(sums->total, running.total);
  if (details) {
    store(sums->weighted, running.weighted);
    store_integers(sums->argmax, running.argmax);
    store_integers(sums->exceeded, running.exceeded);
  }
}

template <class T>
void sum_logits(const void* row, std::int64_t size, const Head& head, std::int64_t target, bool details,
                LaneSums* sums) {
  const auto* logits = static_cast<const T*>(row);
  if (details) {
    sum_logits_of<T, true>(logits, size, head, target, sums);
  } else {
    sum_logits_of<T, false>(logits, size, head, target, sums);
  }
}
