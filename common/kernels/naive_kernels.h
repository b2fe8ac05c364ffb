// The naive set of kernels: every entry of tile_kernels.h as a plain loop over chunks or elements,
// without lanes, networks or arithmetic on bits. The specification: every other set gives its bits
// (docs/protocol.md, P21), which kernels_test checks entry by entry. Slow, and for tests only.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_KERNELS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/kernels/naive_block.h"
#include "common/kernels/naive_codes.h"
#include "common/kernels/naive_dct.h"
#include "common/kernels/naive_flat.h"
#include "common/kernels/naive_select.h"
#include "common/kernels/naive_signs.h"
#include "common/kernels/naive_subset.h"
#include "common/kernels/naive_tile.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus::naive {

inline Chunk ReadRow(const float* rows, size_t row, size_t size) {
  return {rows + row * size, rows + (row + 1) * size};
}
inline void WriteRow(const Chunk& x, size_t row, float* rows) {
  for (size_t i = 0; i < x.size(); ++i) rows[row * x.size() + i] = x[i];
}

struct Kernels {
  static void ForwardRows(int size, const float* in, size_t count, float* out) {
    for (size_t row = 0; row < count; ++row) WriteRow(Dct(ReadRow(in, row, size)), row, out);
  }
  static void InverseRows(int size, const float* in, size_t count, float* out) {
    for (size_t row = 0; row < count; ++row) WriteRow(InverseDct(ReadRow(in, row, size)), row, out);
  }
  static void Accumulate(int size, const float* gradient, int chunks, float decay, float scale,
                         float* momentum) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const Chunk coefficients = Dct(ReadRow(gradient, chunk, size));
      Chunk m = ReadChunk(momentum, chunk, size);
      for (int i = 0; i < size; ++i) m[i] = Accumulated(decay, m[i], scale, coefficients[i]);
      WriteChunk(m, chunk, momentum);
    }
  }
  static void Select(int size, int k, const float* tile, int chunks, uint32_t* masks) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      WriteMask(Largest(ReadChunk(tile, chunk, size), k), chunk, masks);
    }
  }
  static void InverseTile(int size, const float* tile, int chunks, bool sign, float* rows) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      Chunk x = InverseDct(ReadChunk(tile, chunk, size));
      for (float& value : x) value = sign ? Sign(value) : value;
      WriteRow(x, chunk, rows);
    }
  }
  static void InverseSigns(int size, const float* tile, uint32_t* negative, uint32_t* zero) {
    for (int chunk = 0; chunk < kTileChunks; ++chunk) {
      const Chunk x = InverseDct(ReadChunk(tile, chunk, size));
      Elements negative_ones(size), zeros(size);
      for (int i = 0; i < size; ++i) {
        negative_ones[i] = Sign(x[i]) < 0.0f;
        zeros[i] = Sign(x[i]) == 0.0f;
      }
      WriteMask(negative_ones, chunk, negative);
      WriteMask(zeros, chunk, zero);
    }
  }
  static void Means(float /*most*/, const float* pairs, float* out, size_t n) {
    for (size_t i = 0; i < n; ++i) out[i] = Mean(pairs[2 * i], pairs[2 * i + 1]);
  }

  static void Ranks(const SubsetTables& tables, const uint32_t* masks, int chunks,
                    uint64_t* ranks) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      Elements subset = ReadMask(masks, chunk, tables.size);
      if (tables.complement) subset.flip();
      ranks[chunk] = static_cast<uint64_t>(Rank(subset));
    }
  }
  static void Unranks(const SubsetTables& tables, const uint64_t* ranks, int chunks,
                      uint32_t* masks) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      Elements subset = Unrank(tables.size, tables.k, ranks[chunk]);
      if (tables.complement) subset.flip();
      WriteMask(subset, chunk, masks);
    }
  }
  static void PackBits(int size, const uint32_t* masks, const uint32_t* bits, int chunks,
                       uint64_t* packed) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      packed[chunk] = Packed(ReadMask(bits, chunk, size), ReadMask(masks, chunk, size));
    }
  }
  static void SpreadBits(int size, const uint32_t* masks, const uint64_t* packed, int chunks,
                         uint32_t* bits) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      WriteMask(Spread(packed[chunk], ReadMask(masks, chunk, size)), chunk, bits);
    }
  }

  static void GatherSigns(int size, const float* tile, const uint32_t* masks, float* sums,
                          uint32_t* negative) {
    for (int chunk = 0; chunk < kTileChunks; ++chunk) {
      const Chunk x = ReadChunk(tile, chunk, size);
      const Elements chosen = ReadMask(masks, chunk, size);
      sums[chunk] = SumOfMagnitudes(x, chosen);
      WriteMask(NegativeOnes(x, chosen), chunk, negative);
    }
  }
  static void SubtractSigns(int size, const uint32_t* masks, const float* amounts, float* tile) {
    for (int chunk = 0; chunk < kTileChunks; ++chunk) {
      const Elements chosen = ReadMask(masks, chunk, size);
      WriteChunk(WithoutSigns(ReadChunk(tile, chunk, size), chosen, amounts[chunk]), chunk, tile);
    }
  }
  static void MeanSigns(int size, const SignTile* groups, int count, float* tile) {
    for (int chunk = 0; chunk < kTileChunks; ++chunk) {
      std::vector<SentSigns> sent;
      for (const SignTile* group = groups; group < groups + count; ++group) {
        sent.push_back({ReadMask(group->masks, chunk, size), ReadMask(group->negative, chunk, size),
                        group->magnitudes[chunk]});
      }
      WriteChunk(MeanOfSigns(sent, size), chunk, tile);
    }
  }

  static void AccumulateFlat(float decay, float scale, const float* gradient, float* momentum,
                             size_t n) {
    for (size_t i = 0; i < n; ++i) {
      momentum[i] = Accumulated(decay, momentum[i], scale, gradient[i]);
    }
  }
  static void Sgd(float decay, float lr, const float* direction, float* parameters, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      parameters[i] = Stepped(decay, parameters[i], lr, direction[i]);
    }
  }
  static bool TakeProgress(float most, float weight, const float* given, const float* now,
                           float* progress, size_t n) {
    for (size_t i = 0; i < n; ++i) progress[i] = Progress(weight, given[i], now[i]);
    return std::all_of(progress, progress + n, [&](float p) { return Usable(most, p); });
  }
  static bool TakeProgressBf16(float most, float weight, const float* given, const uint16_t* now,
                               float* progress, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      progress[i] = Progress(weight, JobBfloat16(given[i]), OfBfloat16(now[i]));
    }
    return std::all_of(progress, progress + n, [&](float p) { return Usable(most, p); });
  }
  static void MeanSums(float count, float* sums, size_t n) {
    for (size_t i = 0; i < n; ++i) sums[i] = Mean(sums[i], count);
  }
  static void ExpandSigns(const uint8_t* bits, float* direction, size_t n) {
    for (size_t i = 0; i < n; ++i) direction[i] = SignOfBit(bits, i);
  }

  static void TakeBlocks(int bits, float* x, int count, uint8_t* scales, uint64_t* codes) {
    for (int b = 0; b < count; ++b, x += kBlock, codes += bits) {
      scales[b] = static_cast<uint8_t>(std::max(TakeBlock(bits, x, codes), 0));
    }
  }
  static void SayBlock(int bits, int scale_code, const uint64_t* codes, float* values) {
    naive::SayBlock(bits, scale_code, codes, values);
  }
  static void AddBlock(int bits, int scale_code, const uint64_t* codes, float weight, float* sums) {
    float values[kBlock];
    naive::SayBlock(bits, scale_code, codes, values);
    for (int i = 0; i < kBlock; ++i) sums[i] += weight * values[i];
  }
};

inline constexpr TileKernels kKernels = {
    .name = "naive",
    .forward_rows = Kernels::ForwardRows,
    .inverse_rows = Kernels::InverseRows,
    .accumulate = Kernels::Accumulate,
    .select = Kernels::Select,
    .inverse_tile = Kernels::InverseTile,
    .inverse_signs = Kernels::InverseSigns,
    .mean = Kernels::Means,
    .rank = Kernels::Ranks,
    .unrank = Kernels::Unranks,
    .pack_bits = Kernels::PackBits,
    .spread_bits = Kernels::SpreadBits,
    .gather_signs = Kernels::GatherSigns,
    .subtract_signs = Kernels::SubtractSigns,
    .mean_signs = Kernels::MeanSigns,
    .accumulate_flat = Kernels::AccumulateFlat,
    .sgd = Kernels::Sgd,
    .progress = Kernels::TakeProgress,
    .progress_bf16 = Kernels::TakeProgressBf16,
    .mean_sums = Kernels::MeanSums,
    .expand_signs = Kernels::ExpandSigns,
    .take_blocks = Kernels::TakeBlocks,
    .say_block = Kernels::SayBlock,
    .add_block = Kernels::AddBlock,
};

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_KERNELS_H_
