// simd/ holds what is compiled once for each instruction set: isa_*.cpp include the .inl files under their own compiler
// flags, and each defines one table of functions, which this file declares.
#pragma once

#include "cpu/element.hpp"
#include "cpu/simd/direction_kernels.hpp"
#include "cpu/simd/kmeans_kernels.hpp"
#include "cpu/simd/logit_kernels.hpp"
#include "cpu/simd/row_kernels.hpp"
#include "cpu/simd/tile_kernels.hpp"

namespace dataprophet::cpu {

// For benchmarks: see peak.hpp.
using Spin = double (*)(std::int64_t rounds);
using ReadThrough = std::uint32_t (*)(const void* data, std::int64_t bytes);

// Arrays are indexed by Element.
struct Kernels {
  const char* name;
  int lanes;  // floats in a vector
  bool amx;   // whether cosine_rows of bfloat16 takes tiles
  Spin spin_float;
  Spin spin_bfloat;
  ReadThrough read_through;

  SumDirections sum_directions[kRowElements];
  CosineRows cosine_rows[kRowElements];
  MeasureRows measure_rows[kRowElements];
  AddWhole add_whole[kRowElements];
  AddWholeExact add_whole_exact[kRowElements];
  AddScaled add_scaled[kRowElements];
  UnitHalves unit_halves;

  Tiles tiles[kRowElements];          // the fastest
  Tiles shallow_tiles[kRowElements];  // of floats: for few columns, where products cost little
  RoughTiles rough_tiles[kRowElements];
  RoughTiles byte_tiles[kRowElements];  // without `multiply` where no instruction is made for it
  AddDistances distance_tile;
  Screen screen_tile;

  SquaredNorms squared_norms[kRowElements];
  AddRows add_rows[kRowElements];
  SquaredDistances squared_distances[kRowElements];
  SquaredDistance squared_distance[kRowElements];
  Cosine cosine[kRowElements];

  SumRows sum_rows[kRowElements];
  ReadRow read_row[kRowElements];
  SeedRows seed_rows[kRowElements];
  LloydRows lloyd_rows[kRowElements];
  SpreadRows spread_rows[kRowElements];

  HeadTiles head_tiles[kRowElements][kRowElements];  // by the rows' element, then the tokens'
  FinishLogits finish_logits;
  AddLogits add_logits;
  SumLogits sum_logits[kRowElements];
};

// The tiles for rows of d columns. Below 128 bfloat16 would round off much, and save nothing.
inline const Tiles& tiles_of(const Kernels& kernels, Element element, std::int64_t d) {
  return (d < 128 ? kernels.shallow_tiles : kernels.tiles)[static_cast<int>(element)];
}

extern const Kernels kBaseline;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
extern const Kernels kAvx512Bf16;
extern const Kernels kAmx;
#endif

}  // namespace dataprophet::cpu
