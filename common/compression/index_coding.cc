#include "common/compression/index_coding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <memory>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/compression/dct.h"
#include "common/compression/tile_masks.h"
#include "common/kernels/simd.h"

namespace isthmus {
namespace {

constexpr uint32_t kMaxCoded = 128;  // no subset with a rank of 128 bits has more than 66 elements

int BitWidth(WideRank value) {
  const auto high = static_cast<uint64_t>(value >> 64);
  return static_cast<int>(high != 0 ? 64 + std::bit_width(high)
                                    : std::bit_width(static_cast<uint64_t>(value)));
}

}  // namespace

const IndexCoder& IndexCoder::For(uint32_t chunk_size, uint32_t k) {
  static Mutex mu;
  static auto& coders = *new std::map<std::pair<uint32_t, uint32_t>, std::unique_ptr<IndexCoder>>;
  MutexLock lock(&mu);
  std::unique_ptr<IndexCoder>& coder = coders[{chunk_size, k}];
  if (coder == nullptr) coder = std::make_unique<IndexCoder>(chunk_size, k);
  return *coder;
}

IndexCoder::IndexCoder(uint32_t chunk_size, uint32_t k) : chunk_size_(chunk_size), k_(k) {
  ISTHMUS_CHECK(0 < k && k < chunk_size && chunk_size <= 65536);
  index_bits_ = static_cast<int>(std::bit_width(chunk_size - 1));
  bits_ = static_cast<int>(k) * index_bits_;
  const std::optional<WideRank> subsets = Binomial(chunk_size, k);
  if (!subsets || BitWidth(*subsets - 1) >= bits_) return;
  coding_ = IndexCoding::kEnumerative;
  bits_ = BitWidth(*subsets - 1);
  const uint32_t coded = std::min(k, chunk_size - k);
  ISTHMUS_CHECK(coded <= kMaxCoded);
  ranks_.emplace(chunk_size, coded, *subsets);
  if (IsChunkSize(chunk_size) && bits_ <= kRankBits) tables_.emplace(chunk_size, coded, coded < k);
}

WideRank IndexCoder::LoadWideRank(std::span<const std::byte> bytes, uint64_t bit) const {
  WideRank rank = 0;
  for (int at = 0; at < bits_; at += 32) {
    const int width = std::min(bits_ - at, 32);
    rank |= static_cast<WideRank>(LoadBits(bytes, bit + static_cast<uint64_t>(at), width)) << at;
  }
  return rank;
}

void IndexCoder::Complement(std::span<const uint16_t> indices, uint16_t* others) const {
  size_t next = 0;
  for (uint32_t i = 0; i < chunk_size_; ++i) {
    if (next < indices.size() && indices[next] == i) {
      ++next;
    } else {
      *others++ = static_cast<uint16_t>(i);
    }
  }
}

void IndexCoder::Encode(const uint16_t* indices, BitWriter& out) const {
  if (coding_ == IndexCoding::kPacked) {
    for (uint32_t i = 0; i < k_; ++i) out.Put(indices[i], index_bits_);
    return;
  }
  if (tables_) {
    std::array<uint32_t, size_t{MaskWords(kMaxChunkSize)} * kTileChunks> mask;
    for (int word = 0; word < MaskWords(static_cast<int>(chunk_size_)); ++word) {
      mask[static_cast<size_t>(word * kTileChunks)] = 0;
    }
    for (uint32_t i = 0; i < k_; ++i) {
      mask[size_t{indices[i]} / 32 * kTileChunks] |= 1u << (indices[i] % 32);
    }
    uint64_t rank;
    ActiveKernels().rank(tables_->tables(), mask.data(), 1, &rank);
    return out.Put(rank, bits_);
  }
  std::array<uint16_t, kMaxCoded> others;
  std::span<const uint16_t> coded(indices, k_);
  if (2 * k_ > chunk_size_) {
    Complement(coded, others.data());
    coded = std::span(others).first(chunk_size_ - k_);
  }
  WideRank rank = ranks_->Rank(coded);
  for (int left = bits_; left > 0; left -= 32, rank >>= 32) {
    out.Put(static_cast<uint32_t>(rank & 0xffffffff), std::min(left, 32));
  }
}

bool IndexCoder::Valid(std::span<const std::byte> bytes, uint64_t bit) const {
  if (tables_) return LoadBits(bytes, bit, bits_) < ranks_->subsets();
  if (coding_ == IndexCoding::kEnumerative) return LoadWideRank(bytes, bit) < ranks_->subsets();
  int64_t previous = -1;
  for (uint32_t i = 0; i < k_; ++i, bit += static_cast<uint64_t>(index_bits_)) {
    const int64_t index = static_cast<int64_t>(LoadBits(bytes, bit, index_bits_));
    if (index <= previous || index >= chunk_size_) return false;
    previous = index;
  }
  return true;
}

uint64_t IndexCoder::CountValid(std::span<const std::byte> bytes, uint64_t stride_bits,
                                uint64_t count) const {
  if (tables_) {  // all together, for they are nearly always valid
    const auto subsets = static_cast<uint64_t>(ranks_->subsets());
    bool all = true;
    for (uint64_t i = 0; i < count; ++i) {
      all &= LoadBits(bytes, i * stride_bits, bits_) < subsets;
    }
    if (all) return count;
  }
  uint64_t valid = 0;
  while (valid < count && Valid(bytes, valid * stride_bits)) ++valid;
  return valid;
}

void IndexCoder::DecodeByTables(std::span<const std::byte> bytes, uint64_t first_bit,
                                uint64_t stride_bits, int count, uint16_t* indices) const {
  uint64_t ranks[kBatch];
  for (int i = 0; i < count; ++i, first_bit += stride_bits) {
    ranks[i] = LoadBits(bytes, first_bit, bits_);
  }
  std::array<uint32_t, size_t{MaskWords(kMaxChunkSize)} * kTileChunks> masks;
  ActiveKernels().unrank(tables_->tables(), ranks, count, masks.data());
  for (int i = 0; i < count; ++i) {
    ForEachElement(static_cast<int>(chunk_size_), static_cast<uint32_t>(i), masks.data(),
                   [&](uint16_t index) { *indices++ = index; });
  }
}

void IndexCoder::Decode(std::span<const std::byte> bytes, uint64_t first_bit, uint64_t stride_bits,
                        int count, uint16_t* indices) const {
  if (tables_) return DecodeByTables(bytes, first_bit, stride_bits, count, indices);
  for (int i = 0; i < count; ++i, first_bit += stride_bits, indices += k_) {
    if (coding_ == IndexCoding::kPacked) {
      for (uint32_t j = 0; j < k_; ++j) {
        indices[j] = static_cast<uint16_t>(
            LoadBits(bytes, first_bit + j * static_cast<uint32_t>(index_bits_), index_bits_));
      }
    } else if (2 * k_ > chunk_size_) {
      std::array<uint16_t, kMaxCoded> others;
      ranks_->Unrank(LoadWideRank(bytes, first_bit), others.data());
      Complement(std::span(others).first(chunk_size_ - k_), indices);
    } else {
      ranks_->Unrank(LoadWideRank(bytes, first_bit), indices);
    }
  }
}

}  // namespace isthmus
