#pragma once

// Vectors of floats for the instruction set that the including file is compiled for, through GNU vector extensions.
// Include inside an anonymous namespace, after <immintrin.h> where F16C is on: nothing here may have external linkage,
// or the linker could pick an AVX-512 copy of a function for a machine that has none.

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;  // SSE2 on x86-64, NEON on arm64
#endif

// The table for processors that multiply bfloat16 but have no matrix unit is chosen on AMD's alone (isa.cpp), whose
// prefetchers and ports differ from Intel's.
#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
constexpr bool kIsZen = true;
#else
constexpr bool kIsZen = false;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float LooseVector __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef std::uint16_t LooseHalves __attribute__((vector_size(2 * kLanes), aligned(1), may_alias));

struct Half {
  std::uint16_t bits;
};
struct BFloat {
  std::uint16_t bits;
};

inline float from_bits(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// One element. memcpy, because NumPy can export misaligned data.
inline float load1(const float* p) {
  float value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

inline float load1(const BFloat* p) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return from_bits(static_cast<std::uint32_t>(bits) << 16);
}

inline float load1(const Half* p) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  if (exponent == 31) return from_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -tiny : tiny;
}

inline Vector load(const float* p) { return *reinterpret_cast<const LooseVector*>(p); }

inline Vector load(const BFloat* p) {
#if defined(__AVX512F__)  // GCC 12 widens a whole vector in two halves
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
#elif defined(__AVX2__)  // one shuffle, where widening and shifting take two instructions of its port
  const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i upper = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,  //
                                         -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
  return _mm256_castsi256_ps(_mm256_shuffle_epi8(twice, upper));
#else
  const Words words = __builtin_convertvector(*reinterpret_cast<const LooseHalves*>(p), Words) << 16;
  return reinterpret_cast<Vector>(words);
#endif
}

inline Vector load(const Half* p) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__aarch64__)
  typedef __fp16 Halves __attribute__((vector_size(2 * kLanes)));
  Halves halves;
  __builtin_memcpy(&halves, p, sizeof halves);
  return __builtin_convertvector(halves, Vector);
#else
  return Vector{load1(p), load1(p + 1), load1(p + 2), load1(p + 3)};
#endif
}

// A vector of the first `count` elements, then zeros.
template <class T>
inline Vector load_part(const T* p, std::int64_t count) {
  float part[kLanes] = {};
  for (std::int64_t i = 0; i < count; ++i) part[i] = load1(p + i);
  return load(part);
}

inline Vector maximum(Vector a, Vector b) { return a > b ? a : b; }

inline void store(float* p, Vector v) { *reinterpret_cast<LooseVector*>(p) = v; }

// Rounds to the nearest, to even between two.
inline void store1(Half* p, float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  bits &= 0x7fffffff;
  std::uint32_t half;
  if (bits > 0x7f800000) {
    half = 0x7e00 | ((bits >> 13) & 0x3ff);  // NaN
  } else if (bits >= 0x47800000) {
    half = 0x7c00;
  } else if (bits >= 0x38800000) {
    half = (bits - 0x38000000 + 0xfff + ((bits >> 13) & 1)) >> 13;
  } else {
    const float shifted = from_bits(bits) + 0.5f;  // whose last bit is worth that of a subnormal half
    __builtin_memcpy(&half, &shifted, sizeof half);
    half -= 0x3f000000;
  }
  p->bits = static_cast<std::uint16_t>(sign | half);
}

inline void store(Half* p, Vector v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < kLanes; ++i) store1(p + i, v[i]);
#endif
}

inline Vector splat(float value) { return value - Vector{}; }

// 0, 1, 2 ...
inline Vector ramp() {
  Vector v{};
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(i);
  return v;
}

// In pairs: half the latency of one lane after the other.
inline float sum(Vector v) {
  typedef float Four __attribute__((vector_size(16)));
  Four part[kLanes / 4];
  __builtin_memcpy(part, &v, sizeof v);
  Four total = part[0];
  for (int i = 1; i < kLanes / 4; ++i) total += part[i];
  return (total[0] + total[2]) + (total[1] + total[3]);
}
