// The kernels of tile_kernels.h for registers of W floats. Included by one source file per
// instruction set, which is compiled for it and instantiates exactly one W.
#ifndef ISTHMUS_COMMON_KERNELS_TILE_KERNELS_IMPL_H_
#define ISTHMUS_COMMON_KERNELS_TILE_KERNELS_IMPL_H_

#include "common/kernels/block_kernels.h"
#include "common/kernels/flat_kernels.h"
#include "common/kernels/select_kernels.h"
#include "common/kernels/sign_kernels.h"
#include "common/kernels/subset_kernels.h"
#include "common/kernels/tile_kernels.h"
#include "common/kernels/transform_kernels.h"

namespace isthmus {

template <int W>
constexpr TileKernels MakeTileKernels(const char* name) {
  using Transform = TransformKernels<W>;
  using Subset = SubsetKernels<W>;
  using Sign = SignKernels<W>;
  using Flat = FlatKernels<W>;
  using Block = BlockKernels<W>;
  return {
      .name = name,
      .forward_rows = Transform::ForwardRows,
      .inverse_rows = Transform::InverseRows,
      .accumulate = Transform::Accumulate,
      .select = SelectKernels<W>::Select,
      .inverse_tile = Transform::InverseTile,
      .inverse_signs = Transform::InverseSigns,
      .mean = Flat::Mean,
      .rank = Subset::Rank,
      .unrank = Subset::Unrank,
      .pack_bits = Subset::PackBits,
      .spread_bits = Subset::SpreadBits,
      .gather_signs = Sign::GatherSigns,
      .subtract_signs = Sign::SubtractSigns,
      .mean_signs = Sign::MeanSigns,
      .accumulate_flat = Flat::AccumulateFlat,
      .sgd = Flat::Sgd,
      .progress = Flat::Progress,
      .progress_bf16 = Flat::ProgressBf16,
      .mean_sums = Flat::MeanSums,
      .expand_signs = Flat::ExpandSigns,
      .take_blocks = Block::TakeBlocks,
      .say_block = Block::SayBlock,
      .add_block = Block::AddBlock,
  };
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_TILE_KERNELS_IMPL_H_
