#include "common/gpu/record_tables.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"
#include "common/compression/payload_layout.h"
#include "common/kernels/subset_tables.h"

namespace isthmus {
namespace {

RecordIndices IndicesOf(const PayloadFormat& format, const IndexCoder* coder) {
  if (format.k == format.chunk_size) return RecordIndices::kAll;
  if (coder == nullptr) return RecordIndices::kKnown;
  if (coder->coding() == IndexCoding::kPacked) return RecordIndices::kPacked;
  return coder->tables() != nullptr ? RecordIndices::kRank : RecordIndices::kWideRank;
}

}  // namespace

template <typename T>
size_t RecordTables::Append(std::span<const T> table) {
  const size_t at = (bytes_.size() + 15) / 16 * 16;
  const std::span<const std::byte> bytes = std::as_bytes(table);
  bytes_.resize(at + bytes.size());
  std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at));
  return at;
}

RecordTables::RecordTables(const PayloadFormat& format) {
  ISTHMUS_CHECK(std::has_single_bit(format.chunk_size) && format.chunk_size >= kSubsetLeaf &&
                format.chunk_size <= 4096);
  const IndexCoder* coder = CoderOf(format);
  format_.payload = format;
  format_.indices = IndicesOf(format, coder);
  format_.index_bits = coder == nullptr ? 0 : coder->bits();
  format_.offset_bits = static_cast<int>(std::bit_width(format.chunk_size - 1));
  format_.stride_bits = static_cast<int>(std::countr_zero(format.chunk_size / format.k));
  format_.scale_bits = ScaleBits(format.values);
  format_.value_bits = ValueBits(format.values);
  format_.record_bits = static_cast<int>(RecordBits(format, coder));
  if (format_.indices < RecordIndices::kRank) return;
  const SubsetLeaves& leaves = SubsetLeaves::Get();
  leaf_masks_ = Append<uint16_t>(leaves.masks);
  leaf_ranks_ = Append<uint16_t>(leaves.ranks);
  leaf_begin_ = Append<uint16_t>(leaves.begin);
  if (format_.indices == RecordIndices::kRank) {
    AppendNarrow(*coder->tables());
  } else {
    AppendWide(format.chunk_size, std::min(format.k, format.chunk_size - format.k));
  }
}

void RecordTables::AppendNarrow(const SubsetTables& tables) {
  format_.tables = tables;
  const auto* type_begin = &SubsetLeaves::Get().type_begin[0][0][0];
  type_begin_ =
      Append(std::span(type_begin, sizeof(SubsetLeaves::Get().type_begin) / sizeof(*type_begin)));
  block_tables_.resize(tables.k + 1);
  for (uint32_t count = 0; count <= tables.k; ++count) {
    const SubsetBlock& block = tables.blocks[count];
    if (block.below == nullptr) continue;  // of a chunk of one block, only that of k elements is
    size_t types = 0;
    while (block.below[types] != ~uint64_t{0}) ++types;
    block_tables_[count] = {Append(std::span(block.below, types + 1)),
                            Append(std::span(block.types, types)),
                            Append(std::span(block.guesses, size_t{kSubsetGuesses}))};
  }
  size_t levels = 0;
  for (uint32_t size = 2 * kSubsetBlock; size <= tables.size; size *= 2) ++levels;
  splits_ = Append(std::span(tables.splits, levels * (tables.k + 1) * (tables.k + 2)));
  // Room for the pointers, which depend on where the copy is.
  blocks_ = Append(std::span(tables.blocks, tables.k + 1));
}

void RecordTables::AppendWide(uint32_t chunk_size, uint32_t k) {
  format_.wide_tables.k = k;
  format_.wide_tables.complement = 2 * format_.payload.k > chunk_size;
  std::vector<WideRank> binomials;
  const auto add = [&](uint32_t size) {
    for (uint32_t count = 0; count <= k; ++count) binomials.push_back(*Binomial(size, count));
  };
  for (uint32_t size = kSubsetLeaf; size <= kSubsetBlock; size += kSubsetLeaf) add(size);
  for (uint32_t size = 2 * kSubsetBlock; size < chunk_size; size *= 2) add(size);
  binomials_ = Append(std::span<const WideRank>(binomials));
}

std::vector<std::byte> RecordTables::BytesAt(const void* device) const {
  std::vector<std::byte> bytes = bytes_;
  const auto* base = static_cast<const std::byte*>(device);
  for (size_t count = 0; count < block_tables_.size(); ++count) {
    const Block& tables = block_tables_[count];
    SubsetBlock block;
    std::byte* const place = bytes.data() + blocks_ + count * sizeof(block);
    std::memcpy(&block, place, sizeof(block));
    if (block.below == nullptr) continue;
    block.below = reinterpret_cast<const uint64_t*>(base + tables.below);
    block.types = reinterpret_cast<const SubsetType*>(base + tables.types);
    block.guesses = reinterpret_cast<const uint16_t*>(base + tables.guesses);
    std::memcpy(place, &block, sizeof(block));
  }
  return bytes;
}

RecordFormat RecordTables::FormatAt(const void* device) const {
  RecordFormat format = format_;
  const auto* base = static_cast<const std::byte*>(device);
  const auto at = [&]<typename T>(const T*, size_t offset) {
    return reinterpret_cast<const T*>(base + offset);
  };
  const uint16_t* words = nullptr;
  if (format.indices == RecordIndices::kRank) {
    format.tables.leaf_masks = at(words, leaf_masks_);
    format.tables.leaf_ranks = at(words, leaf_ranks_);
    format.tables.type_begin = at(format.tables.type_begin, type_begin_);
    format.tables.splits = at(format.tables.splits, splits_);
    format.tables.blocks = at(format.tables.blocks, blocks_);
  } else if (format.indices == RecordIndices::kWideRank) {
    format.wide_tables.leaf_masks = at(words, leaf_masks_);
    format.wide_tables.leaf_ranks = at(words, leaf_ranks_);
    format.wide_tables.leaf_begin = at(words, leaf_begin_);
    format.wide_tables.binomials = at(format.wide_tables.binomials, binomials_);
  }
  return format;
}

}  // namespace isthmus
