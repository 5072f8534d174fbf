#pragma once

// The function table of the instruction set that the including file is compiled for. Include inside an anonymous
// namespace.
#include "cpu/simd/average_directions.inl"
#include "cpu/simd/byte_tiles.inl"
#include "cpu/simd/cosine_rows.inl"
#if defined(__AMX_BF16__)
#include "cpu/simd/cosine_amx.inl"
#endif
#include "cpu/simd/distance_tile.inl"
#include "cpu/simd/line_tiles.inl"
#include "cpu/simd/lloyd_rows.inl"
#include "cpu/simd/logits.inl"
#include "cpu/simd/measure_rows.inl"
#include "cpu/simd/peak.inl"
#include "cpu/simd/row_sums.inl"
#include "cpu/simd/screen_tile.inl"
#include "cpu/simd/seed_rows.inl"
#include "cpu/simd/sum_directions.inl"
#include "cpu/simd/tile.inl"

template <class T>
constexpr Tiles tiles() {
  return {
      T::left,     T::right, T::step, T::element_bytes, T::row_extra, T::template pack<false>, T::template pack<true>,
      T::multiply, T::begin, T::end};
}

#if defined(__AMX_BF16__)
constexpr bool kHasAmx = true;
using TilesOfFloat = MatrixTiles<float, 3>;
using TilesOfHalf = MatrixTiles<Half, 2>;
using TilesOfBFloat = MatrixTiles<BFloat, 2>;  // around a mean, bfloat16 has more digits
#else  // bfloat16, too: rounded again around a mean, rows would keep three digits
constexpr bool kHasAmx = false;
using TilesOfFloat = FloatTiles<float>;
using TilesOfHalf = FloatTiles<Half>;
using TilesOfBFloat = FloatTiles<BFloat>;
#endif

template <class T>
constexpr RoughTiles rough_tiles() {
#if defined(__AMX_BF16__)
  return {tiles<MatrixTiles<T, 1>>(), rounded_off<T>, 0.0};
#elif defined(__AVX512BF16__)
  return {tiles<PairTiles<T>>(), rounded_off<T>, 0.0};
#else
  return {tiles<FloatTiles<T>>(), nullptr, 0.0};
#endif
}

// Where bytes pay was tried on normal, Laplace, Student and low-rank rows of 128 to 4,096 columns.
template <class T>
constexpr RoughTiles byte_tiles() {
#if defined(__AVX512F__)
  return {tiles<ByteTiles<T>>(), rounded_off_bytes<T>, kHasAmx ? 0.5 : 0.9};
#else
  return {};
#endif
}

// Products that keep what fp32 holds of rows of one type and tokens of another.
#if defined(__AMX_BF16__)
template <class T>
constexpr int kParts = std::is_same_v<T, BFloat> ? 1
                       : std::is_same_v<T, Half> ? 2
                                                 : 3;

template <class T>
using PartTiles = std::conditional_t<std::is_same_v<T, BFloat>, CopiedTiles, MatrixTiles<T, kParts<T>>>;

template <class Row, class Token>
void multiply_tokens(const void* tokens, const void* rows, std::int64_t d, float* products, const char*) {
  multiply_parts<kParts<Token>, kParts<Row>, 3, true>(tokens, rows, d, products);
}

template <class Row, class Token>
constexpr HeadTiles head_tiles() {
  return {tiles<PartTiles<Token>>(), tiles<PartTiles<Row>>(), multiply_tokens<Row, Token>,
          multiply_tokens<Row, Token>};  // half would save little: loading tiles takes as long
}
#else
template <class Row, class Token>
constexpr HeadTiles head_tiles() {
#if defined(__AVX512BF16__)
  if (std::is_same_v<Row, BFloat> && std::is_same_v<Token, BFloat>) {
    return {tiles<LinePairTiles>(), tiles<PairTiles<BFloat>>(), LinePairTiles::multiply_some<kRightVectors>,
            LinePairTiles::multiply_some<kRightVectors / 2>};
  }
#endif
  return {tiles<LineTiles<Token>>(), tiles<FloatTiles<Row>>(), LineTiles<Token>::template multiply_some<kRightVectors>,
          LineTiles<Token>::template multiply_some<kRightVectors / 2>};
}
#endif

constexpr Kernels table(const char* name) {
  return {
      name,
      kLanes,
      kHasAmx,
      spin_float,
      spin_bfloat,
      read_through,

      {sum_directions<float>, sum_directions<Half>, sum_directions<BFloat>},
#if defined(__AMX_BF16__)
      {cosine_rows<float>, cosine_rows<Half>, cosine_rows_amx},
#else
      {cosine_rows<float>, cosine_rows<Half>, cosine_rows<BFloat>},
#endif
      {measure_rows<float>, measure_rows<Half>, measure_rows<BFloat>},
      {add_whole<float>, add_whole<Half>, add_whole<BFloat>},
      {add_whole_exact<float>, add_whole_exact<Half>, add_whole_exact<BFloat>},
      {add_scaled<float>, add_scaled<Half>, add_scaled<BFloat>},
      unit_halves,

      {tiles<TilesOfFloat>(), tiles<TilesOfHalf>(), tiles<TilesOfBFloat>()},
      {tiles<FloatTiles<float>>(), tiles<FloatTiles<Half>>(), tiles<FloatTiles<BFloat>>()},
      {rough_tiles<float>(), rough_tiles<Half>(), rough_tiles<BFloat>()},
      {byte_tiles<float>(), byte_tiles<Half>(), byte_tiles<BFloat>()},
      distance_tile,
      screen_tile,

      {squared_norms<float>, squared_norms<Half>, squared_norms<BFloat>},
      {add_rows<float>, add_rows<Half>, add_rows<BFloat>},
      {squared_distances<float>, squared_distances<Half>, squared_distances<BFloat>},
      {squared_distance<float>, squared_distance<Half>, squared_distance<BFloat>},
      {cosine<float>, cosine<Half>, cosine<BFloat>},

      {sum_rows<float>, sum_rows<Half>, sum_rows<BFloat>},
      {read_row<float>, read_row<Half>, read_row<BFloat>},
      {seed_rows<float>, seed_rows<Half>, seed_rows<BFloat>},
      {lloyd_rows<float>, lloyd_rows<Half>, lloyd_rows<BFloat>},
      {spread_rows<float>, spread_rows<Half>, spread_rows<BFloat>},

      {{head_tiles<float, float>(), head_tiles<float, Half>(), head_tiles<float, BFloat>()},
       {head_tiles<Half, float>(), head_tiles<Half, Half>(), head_tiles<Half, BFloat>()},
       {head_tiles<BFloat, float>(), head_tiles<BFloat, Half>(), head_tiles<BFloat, BFloat>()}},
      finish_logits,
      add_logits,
      {sum_logits<float>, sum_logits<Half>, sum_logits<BFloat>},
  };
}
