// Payload records of all chunks of a block, written and read: what RecordWriter and PayloadView
// (common/compression/payload.h) do, with the threads of a chunk sharing the work; held to them by
// extract_kernel_test.cc and apply_kernel_test.cc. Naively: naive_subset.h, naive_signs.h and
// naive_codes.h of common/kernels.
#ifndef ISTHMUS_COMMON_GPU_BLOCK_RECORDS_H_
#define ISTHMUS_COMMON_GPU_BLOCK_RECORDS_H_

#include <math.h>
#include <stdint.h>

#include "common/gpu/chunk_block.h"
#include "common/gpu/record_bits.h"
#include "common/gpu/record_format.h"
#include "common/gpu/record_values.h"
#include "common/kernels/positions.h"
#include "common/kernels/subset_formulas.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

// Which elements of its chunk a thread's part has among those sent.
struct PartSelection {
  uint64_t mask = 0;    // bit j: element j of the part
  uint32_t before = 0;  // sent of the parts before
};

template <int N, typename Thread>
class BlockRecords {
 public:
  using Place = ChunkThread<N, Thread>;
  using Shape = ChunkShape<N>;

  // --- which elements --------------------------------------------------------------------------

  // All: the elements that the format sends of every chunk by itself (kAll, kKnown). `chunk` is the
  // flat vector's.
  ISTHMUS_KERNEL static uint64_t KnownElements(Place& place, const RecordFormat& format,
                                               uint64_t round, uint64_t chunk) {
    if (format.indices == RecordIndices::kAll) return Shape::kAllOfPart;
    ClearMask(place);
    const uint32_t k = format.payload.k;
    for (uint32_t i = place.part(); i < k; i += Shape::kParts) {
      SetElement(place, KnownPosition(format, round, chunk, i));
    }
    place.Meet();
    return PartOfMask(place);
  }

  // All: the chunks' masks become `mask`, part by part.
  ISTHMUS_KERNEL static void StoreMask(Place& place, uint64_t mask) {
    uint32_t* const words = place.mask() + place.part() * kPartWords;
    words[0] = static_cast<uint32_t>(mask);
    if constexpr (kPartWords == 2) words[1] = static_cast<uint32_t>(mask >> 32);
    place.Meet();
  }

  // All: what record `record`, which is there if `present`, says is sent; nothing otherwise.
  ISTHMUS_KERNEL static PartSelection ReadElements(Place& place, const RecordFormat& format,
                                                   uint64_t round, uint64_t chunk,
                                                   const uint32_t* words, uint64_t record,
                                                   bool present) {
    const uint64_t bit = record * static_cast<uint64_t>(format.record_bits);
    uint64_t mask;
    if (format.indices <= RecordIndices::kKnown) {
      mask = KnownElements(place, format, round, chunk);
    } else {
      if (format.indices == RecordIndices::kPacked) {
        ClearMask(place);
        for (uint32_t i = place.part(); present && i < format.payload.k; i += Shape::kParts) {
          const uint64_t at = bit + uint64_t{i} * static_cast<uint64_t>(format.offset_bits);
          SetElement(place, static_cast<uint32_t>(LoadWordBits(words, at, format.offset_bits)));
        }
      } else if (place.leads() && present) {
        ReadRank(place, format, words, bit);
      }
      place.Meet();
      mask = PartOfMask(place);
    }
    if (!present) mask = 0;
    // (Where a mask has several readers the scan makes them meet, so that it may change after.)
    return {mask, place.Scan(CountOnes(mask)).before};
  }

  // The scale that all values of a record share.
  ISTHMUS_KERNEL static float ReadScale(const RecordFormat& format, const uint32_t* words,
                                        uint64_t record) {
    if (format.scale_bits == 0) return 1.0f;
    const uint64_t bit = record * static_cast<uint64_t>(format.record_bits) +
                         static_cast<uint64_t>(format.index_bits);
    return ScaleOf(static_cast<uint32_t>(LoadWordBits(words, bit, 8)));
  }
  // Calls use(j, value) for each element of the part that a record sends, ascending: j is its place
  // in the part.
  template <typename Use>
  ISTHMUS_KERNEL static void ForEachValue(const RecordFormat& format, const uint32_t* words,
                                          uint64_t record, const PartSelection& selection,
                                          const Use& use) {
    const float scale = ReadScale(format, words, record);
    const uint64_t bit = ValueBit(format, record, selection.before);
    WithValueFormat(format.payload.values, [&](auto values) {
      constexpr ValueFormat kValues = decltype(values)::kFormat;
      constexpr int kBits = ValueBits(kValues);
      uint64_t bits = 0;
      if (kBits == 1 && selection.mask != 0) {  // all of them at once
        bits = LoadWordBits(words, bit, static_cast<int>(CountOnes(selection.mask)));
      }
      uint64_t at = bit;
      for (uint64_t mask = selection.mask; mask != 0; mask &= mask - 1) {
        uint32_t code;
        if constexpr (kBits == 1) {
          code = static_cast<uint32_t>(bits & 1);
          bits >>= 1;
        } else {
          code = static_cast<uint32_t>(LoadWordBits(words, at, kBits));
          at += kBits;
        }
        use(LowestOne(mask), ValueOf<kValues>(code, scale));
      }
    });
  }

  // --- writing ---------------------------------------------------------------------------------

  // All: what is sent of the rows, whose masks are stored. Returns whether there is anything, and
  // the scale.
  struct Quantized {
    bool present;
    int scale_code;
  };
  ISTHMUS_KERNEL static Quantized Quantize(Place& place, const RecordFormat& format,
                                           const PartSelection& selection) {
    if (format.scale_bits != 0) {
      if (place.leads()) {
        place.shared_word() = static_cast<uint32_t>(ScaleOfRow(place, format));
      }
      place.Meet();
      const int code = static_cast<int>(place.shared_word());
      place.Meet();
      return {code != kNoScale, code};
    }
    const float* const row = place.row() + place.part() * Shape::kPart;
    uint32_t any = 0;
    WithValueFormat(format.payload.values, [&](auto values) {
      for (uint64_t mask = selection.mask; mask != 0; mask &= mask - 1) {
        const float said = SaidValue<decltype(values)::kFormat>(row[LowestOne(mask)], 0.0f);
        any |= (FloatBits(said) << 1) != 0 ? 1 : 0;
      }
    });
    return {place.Scan(any).all != 0, 0};
  }

  // All: writes the chunk's offsets or rank, whose mask is stored, and its scale, if `present`.
  ISTHMUS_KERNEL static void WriteElements(Place& place, const RecordFormat& format,
                                           uint32_t* words, uint64_t record,
                                           const PartSelection& selection,
                                           const Quantized& quantized) {
    if (!quantized.present) return;
    const uint64_t bit = record * static_cast<uint64_t>(format.record_bits);
    if (format.indices == RecordIndices::kPacked) {
      uint64_t at = bit + uint64_t{selection.before} * static_cast<uint64_t>(format.offset_bits);
      for (uint64_t mask = selection.mask; mask != 0; mask &= mask - 1) {
        OrBits(place.thread(), words, at, place.part() * Shape::kPart + LowestOne(mask),
               format.offset_bits);
        at += static_cast<uint64_t>(format.offset_bits);
      }
    }
    if (!place.leads()) return;
    if (format.indices >= RecordIndices::kRank) WriteRank(place, format, words, bit);
    if (format.scale_bits != 0) {
      OrBits(place.thread(), words, bit + static_cast<uint64_t>(format.index_bits),
             static_cast<uint64_t>(quantized.scale_code), 8);
    }
  }

  // Where the bits of value `i` belong, of those that a record sends.
  ISTHMUS_KERNEL static uint64_t ValueBit(const RecordFormat& format, uint64_t record, uint32_t i) {
    return record * static_cast<uint64_t>(format.record_bits) +
           static_cast<uint64_t>(format.index_bits + format.scale_bits) +
           uint64_t{i} * static_cast<uint64_t>(format.value_bits);
  }

 private:
  static constexpr int kPartWords = MaskWords(Shape::kPart);
  // All ones complements a mask.
  static constexpr uint32_t kFlip = N == 16 ? 0xffffu : 0xffffffffu;

  ISTHMUS_KERNEL static void ClearMask(Place& place) {
    uint32_t* const words = place.mask() + place.part() * kPartWords;
    for (int i = 0; i < kPartWords; ++i) words[i] = 0;
    place.Meet();
  }
  ISTHMUS_KERNEL static void SetElement(Place& place, uint32_t element) {
    place.thread().Or(place.mask() + element / 32, uint32_t{1} << (element % 32));
  }
  ISTHMUS_KERNEL static uint64_t PartOfMask(Place& place) {
    const uint32_t* const words = place.mask() + place.part() * kPartWords;
    return words[0] | (kPartWords == 2 ? uint64_t{words[kPartWords - 1]} << 32 : 0);
  }
  ISTHMUS_KERNEL static uint32_t KnownPosition(const RecordFormat& format, uint64_t round,
                                               uint64_t chunk, uint32_t i) {
    switch (format.payload.positions) {
      case Positions::kRandom:
        return RandomPosition(format.payload.seed, round, chunk, format.stride_bits, i);
      case Positions::kStriding:
        return StridingPosition(round, chunk, format.stride_bits, i);
      case Positions::kSlicing:
        return SlicingPosition(round, chunk, format.stride_bits, format.payload.k, i);
      case Positions::kChosen:
        break;
    }
    return i;
  }
  // Of the values that the chunk's mask has, summed in ascending order.
  ISTHMUS_KERNEL static int ScaleOfRow(Place& place, const RecordFormat& format) {
    float sum = 0, squares = 0, most = 0;
    for (int i = 0; i < Shape::kWords; ++i) {
      for (uint32_t mask = place.mask()[i]; mask != 0; mask &= mask - 1) {
        const float magnitude = fabsf(place.row()[32 * i + static_cast<int>(LowestOne(mask))]);
        sum += magnitude;
        squares += magnitude * magnitude;
        most = magnitude > most ? magnitude : most;
      }
    }
    const auto k = static_cast<float>(format.payload.k);
    if (format.payload.values == ValueFormat::kInt4) return Int4ScaleCode(most);
    if (format.payload.values == ValueFormat::kTwoBit) return TwoBitScaleCode(squares / k);
    return ScaleCode(sum / k);
  }

  ISTHMUS_KERNEL static void WriteRank(Place& place, const RecordFormat& format, uint32_t* words,
                                       uint64_t bit) {
    if (format.indices == RecordIndices::kRank) {
      const uint32_t flip = format.tables.complement ? kFlip : 0;
      OrBits(place.thread(), words, bit,
             Narrow::template RankOf<N>(format.tables, place.mask(), flip).rank, format.index_bits);
      return;
    }
    const uint32_t flip = format.wide_tables.complement ? kFlip : 0;
    WideRank rank = Wide::template RankOf<N>(format.wide_tables, place.mask(), flip).rank;
    for (int left = format.index_bits; left > 0; left -= 32, bit += 32, rank >>= 32) {
      OrBits(place.thread(), words, bit, static_cast<uint32_t>(rank), left < 32 ? left : 32);
    }
  }
  ISTHMUS_KERNEL static void ReadRank(Place& place, const RecordFormat& format,
                                      const uint32_t* words, uint64_t bit) {
    if (format.indices == RecordIndices::kRank) {
      const uint32_t flip = format.tables.complement ? kFlip : 0;
      Narrow::template UnrankTo<N>(format.tables, format.tables.k,
                                   LoadWordBits(words, bit, format.index_bits), flip, place.mask());
      return;
    }
    WideRank rank = 0;
    for (int at = 0; at < format.index_bits; at += 32) {
      const int width = format.index_bits - at < 32 ? format.index_bits - at : 32;
      rank |= static_cast<WideRank>(LoadWordBits(words, bit + static_cast<uint64_t>(at), width))
              << at;
    }
    const uint32_t flip = format.wide_tables.complement ? kFlip : 0;
    Wide::template UnrankTo<N>(format.wide_tables, format.wide_tables.k, rank, flip, place.mask());
  }

  using Narrow = SubsetFormulas<0, 1>;  // set 0: GPUs
  using Wide = WideSubsetFormulas<1>;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_BLOCK_RECORDS_H_
