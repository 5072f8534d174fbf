#pragma once

// Norms, sums and distances of single rows, in double precision or from differences. Include inside an anonymous
// namespace.
#include "cpu/simd/norm.inl"

typedef float HalfVector __attribute__((vector_size(2 * kLanes)));
typedef double Doubles __attribute__((vector_size(4 * kLanes)));
typedef double LooseDoubles __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));

inline void widen(Vector v, Doubles* low, Doubles* high) {
  HalfVector part[2];
  __builtin_memcpy(part, &v, sizeof v);
  *low = __builtin_convertvector(part[0], Doubles);
  *high = __builtin_convertvector(part[1], Doubles);
}

inline void add(double* p, Doubles v) {
  *reinterpret_cast<LooseDoubles*>(p) = *reinterpret_cast<const LooseDoubles*>(p) + v;
}

template <class T>
void squared_norms(const void* const* rows, std::int64_t count, std::int64_t d, double* out) {
  for (std::int64_t r = 0; r < count; ++r) {
    const T* row = static_cast<const T*>(rows[r]);
    Doubles s0{}, s1{};
    std::int64_t j = 0;
    for (; j + kLanes <= d; j += kLanes) {
      Doubles low, high;
      widen(load(row + j), &low, &high);
      s0 += low * low;
      s1 += high * high;
    }
    const Doubles sums = s0 + s1;
    double total = 0.0;
    for (int i = 0; i < kLanes / 2; ++i) total += sums[i];
    for (; j < d; ++j) total += static_cast<double>(load1(row + j)) * load1(row + j);
    out[r] = total;
  }
}

template <class T>
void add_rows(const void* const* rows, std::int64_t count, const float* scale, std::int64_t d, double* sum) {
  for (std::int64_t r = 0; r < count; ++r) {
    const T* row = static_cast<const T*>(rows[r]);
    const Vector factor = splat(scale[r]);
    std::int64_t j = 0;
    for (; j + kLanes <= d; j += kLanes) {
      Doubles low, high;
      widen(load(row + j) * factor, &low, &high);
      add(sum + j, low);
      add(sum + j + kLanes / 2, high);
    }
    for (; j < d; ++j) sum[j] += static_cast<double>(load1(row + j) * scale[r]);
  }
}

// A squared distance whose terms fp32 may have lost.
inline double tiny_distance(const float* row, const float* high, const float* low, std::int64_t d) {
  double total = 0.0;
  for (std::int64_t j = 0; j < d; ++j) {
    const double difference = static_cast<double>(row[j] - high[j] - low[j]);
    total += difference * difference;
  }
  return total;
}

// Differences are squared, not norms subtracted: nothing cancels, however close the rows are to a centre or far from 0.
template <class T>
void squared_distances(const void* const* rows, std::int64_t count, const float* scale, const Centres& centres,
                       float* buffer, double* out) {
  const std::int64_t d = centres.d;
  for (std::int64_t r = 0; r < count; ++r) {
    const T* row = static_cast<const T*>(rows[r]);
    const Vector factor = splat(scale[r]);
    std::int64_t j = 0;
    for (; j + kLanes <= d; j += kLanes) store(buffer + j, load(row + j) * factor);
    for (; j < d; ++j) buffer[j] = load1(row + j) * scale[r];
    for (std::int64_t c = 0; c < centres.count; ++c) {
      const float* high = centres.high + c * d;
      const float* low = centres.low + c * d;
      Vector s0{}, s1{};
      for (j = 0; j + 2 * kLanes <= d; j += 2 * kLanes) {
        const Vector a = load(buffer + j) - load(high + j) - load(low + j);
        const Vector b = load(buffer + j + kLanes) - load(high + j + kLanes) - load(low + j + kLanes);
        s0 = a * a + s0;
        s1 = b * b + s1;
      }
      float total = sum(s0 + s1);
      for (; j < d; ++j) {
        const float a = buffer[j] - high[j] - low[j];
        total += a * a;
      }
      out[r * centres.count + c] = total > 1e-30f ? static_cast<double>(total) : tiny_distance(buffer, high, low, d);
    }
  }
}

template <class T>
double squared_distance(const void* a, const void* b, float scale, std::int64_t d) {
  double total = 0.0;
  for (std::int64_t j = 0; j < d; ++j) {
    const double left = static_cast<double>(load1(static_cast<const T*>(a) + j));
    const double difference =
        (left - static_cast<double>(load1(static_cast<const T*>(b) + j))) * static_cast<double>(scale);
    total += difference * difference;
  }
  return total;
}
