#pragma once

// Cosine of rows to a few directions. Include inside an anonymous namespace.
#include "cpu/norm.inl"

constexpr int kPanelVectors = kPanel / kLanes;
constexpr int kTileRows = kLanes == 16 ? 8 : 4;  // accumulators: enough to hide the latency, and they fit in registers
constexpr std::int64_t kDepth = 256;             // columns summed in fp32 before they join the total

// Columns [start, stop) of a row as floats: in place for fp32, else widened into `buffer`.
inline const float* widen(const float* row, std::int64_t start, std::int64_t, float*) { return row + start; }

template <class T>
inline const float* widen(const T* row, std::int64_t start, std::int64_t stop, float* buffer) {
  std::int64_t j = start;
  for (; j + kLanes <= stop; j += kLanes) store(buffer + (j - start), load(row + j));
  for (; j < stop; ++j) buffer[j - start] = load1(row + j);
  return buffer;
}

// Dot products of `count` rows with one panel of kPanel directions.
template <class T, int count>
inline void dot_panel(const T* const* row, const float* panel, std::int64_t d, float* dots) {
  Vector total[count][kPanelVectors] = {};
  for (std::int64_t start = 0; start < d; start += kDepth) {
    const std::int64_t stop = start + kDepth < d ? start + kDepth : d;
    float buffer[count][kDepth];
    const float* x[count];
    for (int i = 0; i < count; ++i) x[i] = widen(row[i], start, stop, buffer[i]);
    Vector part[count][kPanelVectors] = {};
    for (std::int64_t j = 0; j < stop - start; ++j) {
      const float* directions = panel + (start + j) * kPanel;
      for (int i = 0; i < count; ++i) {
        const Vector a = splat(load1(x[i] + j));
        for (int v = 0; v < kPanelVectors; ++v) part[i][v] = a * load(directions + v * kLanes) + part[i][v];
      }
    }
    for (int i = 0; i < count; ++i) {
      for (int v = 0; v < kPanelVectors; ++v) total[i][v] += part[i][v];
    }
  }
  for (int i = 0; i < count; ++i) {
    for (int v = 0; v < kPanelVectors; ++v) store(dots + i * kPanel + v * kLanes, total[i][v]);
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
inline void cosine_tile(const Rows& rows, std::int64_t first, const float* packed, std::int64_t targets, float* out,
                        BadRows* bad) {
  const std::int64_t d = rows.d;
  const T* row[count];
  float squared[count], dots[count * kPanel];
  for (int i = 0; i < count; ++i) {
    row[i] = static_cast<const T*>(rows.data) + (first + i) * rows.stride;
    squared[i] = squared_norm(row[i], d);
  }
  for (std::int64_t base = 0; base < targets; base += kPanel) {
    const std::int64_t width = targets - base < kPanel ? targets - base : kPanel;
    dot_panel<T, count>(row, packed + base * d, d, dots);
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
    cosine_tile<T, kTileRows>(rows, r, packed, targets, out + (r - begin) * targets, bad);
  }
  for (; r < end; ++r) cosine_tile<T, 1>(rows, r, packed, targets, out + (r - begin) * targets, bad);
}
