#pragma once

// Cosine of rows to a few directions. Include inside an anonymous namespace.
#include "cpu/norm.inl"

constexpr int kPanelVectors = kPanel / kLanes;
constexpr int kTileRows = kLanes == 16 ? 8 : 4;  // accumulators: enough to hide the latency, and they fit in registers
constexpr std::int64_t kDepth = 256;             // columns summed in fp32 before they join the total

// Adds the squares of columns of a row, and returns them as floats: in place for fp32, else widened into `buffer`.
template <class T>
inline const float* read(const T* row, std::int64_t columns, float* buffer, Vector* squares, float* rest) {
  constexpr bool in_place = sizeof(T) == sizeof(float);
  Vector sum{};
  std::int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    const Vector a = load(row + j);
    sum = a * a + sum;
    if (!in_place) store(buffer + j, a);
  }
  *squares += sum;
  for (; j < columns; ++j) {
    const float a = load1(row + j);
    *rest += a * a;
    if (!in_place) buffer[j] = a;
  }
  return in_place ? reinterpret_cast<const float*>(row) : buffer;
}

// Dot products of `count` rows with one panel of kPanel directions, and the rows' sums of squares. Rows of the next
// tile are fetched meanwhile: there is more arithmetic than memory traffic, and neither need wait for the other. Not
// inlined: as part of its caller it came out of GCC 12 at half the speed.
template <class T, int count>
__attribute__((noinline)) void dot_panel(const T* const* row, const T* const* next, const float* panel, std::int64_t d,
                                         float* dots, float* squared) {
  constexpr std::int64_t kLine = 64 / sizeof(T);  // columns in a line of the cache
  Vector total[count][kPanelVectors] = {};
  Vector squares[count] = {};
  float rest[count] = {};
  for (std::int64_t start = 0; start < d; start += kDepth) {
    const std::int64_t columns = start + kDepth < d ? kDepth : d - start;
    float buffer[count][kDepth];
    const float* x[count];
    for (int i = 0; i < count; ++i) x[i] = read(row[i] + start, columns, buffer[i], &squares[i], &rest[i]);
    Vector part[count][kPanelVectors] = {};
    for (std::int64_t line = 0; line < columns; line += kLine) {
      const std::int64_t stop = line + kLine < columns ? line + kLine : columns;
      for (int i = 0; i < count; ++i) __builtin_prefetch(next[i] + start + line, 0, 2);
      for (std::int64_t j = line; j < stop; ++j) {
        const float* directions = panel + (start + j) * kPanel;
        for (int i = 0; i < count; ++i) {
          const Vector a = splat(load1(x[i] + j));
          for (int v = 0; v < kPanelVectors; ++v) part[i][v] = a * load(directions + v * kLanes) + part[i][v];
        }
      }
    }
    for (int i = 0; i < count; ++i) {
      for (int v = 0; v < kPanelVectors; ++v) total[i][v] += part[i][v];
    }
  }
  for (int i = 0; i < count; ++i) {
    for (int v = 0; v < kPanelVectors; ++v) store(dots + i * kPanel + v * kLanes, total[i][v]);
    squared[i] = sum(squares[i]) + rest[i];
  }
}

// A row that fp32 cannot normalise, in double precision.
template <class T>
void cosine_exact(const T* row, std::int64_t d, std::int64_t index, const float* packed, std::int64_t targets,
                  float* out, BadRows* bad) {
  const double norm = exact_norm(row, d, index, bad);
  for (std::int64_t t = 0; t < targets; ++t) {
    const float* direction = packed + t / kPanel * d * kPanel + t % kPanel;
    double dot = 0.0;
    if (norm > 0.0) {
      for (std::int64_t j = 0; j < d; ++j) dot += static_cast<double>(load1(row + j)) / norm * direction[j * kPanel];
    }
    out[t] = static_cast<float>(dot);
  }
}

template <class T, int count>
inline void cosine_tile(const Rows& rows, std::int64_t first, std::int64_t end, const float* packed,
                        std::int64_t targets, float* out, BadRows* bad) {
  const std::int64_t d = rows.d;
  const T* row[count];
  const T* next[count];
  float squared[count], dots[count * kPanel];
  for (int i = 0; i < count; ++i) {
    row[i] = static_cast<const T*>(rows.data) + (first + i) * rows.stride;
    next[i] = first + count + i < end ? row[i] + count * rows.stride : row[i];
  }
  for (std::int64_t base = 0; base == 0 || base < targets; base += kPanel) {
    const std::int64_t width = targets - base < kPanel ? targets - base : kPanel;
    dot_panel<T, count>(row, next, packed + base * d, d, dots, squared);
    for (int i = 0; i < count; ++i) {
      const float scale = inverse_norm(squared[i]);
      for (std::int64_t t = 0; t < width; ++t) out[i * targets + base + t] = dots[i * kPanel + t] * scale;
    }
  }
  for (int i = 0; i < count; ++i) {
    if (!plain(squared[i])) cosine_exact(row[i], d, first + i, packed, targets, out + i * targets, bad);
  }
}

template <class T>
void cosine_rows(const Rows& rows, std::int64_t begin, std::int64_t end, const float* packed, std::int64_t targets,
                 float* out, BadRows* bad) {
  std::int64_t r = begin;
  for (; r + kTileRows <= end; r += kTileRows) {
    cosine_tile<T, kTileRows>(rows, r, end, packed, targets, out + (r - begin) * targets, bad);
  }
  for (; r < end; ++r) cosine_tile<T, 1>(rows, r, end, packed, targets, out + (r - begin) * targets, bad);
}
