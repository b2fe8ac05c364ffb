#include "common/compression/subset_ranks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include "common/base/check.h"

namespace isthmus {
namespace {

// Where the upper half of `size` > 64 elements begins.
uint32_t LowerHalf(uint32_t size) { return std::bit_ceil(size) / 2; }

}  // namespace

SubsetRanks::SubsetRanks(uint32_t n, uint32_t k, WideRank subsets)
    : n_(n), k_(k), subsets_(subsets) {
  ISTHMUS_CHECK(2 * k <= n && n <= 65536);
  std::vector<uint32_t> open = {n};
  while (!open.empty()) {
    const uint32_t size = open.back();
    open.pop_back();
    if (std::ranges::find(sizes_, size) != sizes_.end()) continue;
    sizes_.push_back(size);
    if (size <= kSubsetLeaf) continue;
    if (size <= kSubsetBlock) {
      open.push_back(kSubsetLeaf);
      if (size % kSubsetLeaf != 0) open.push_back(size % kSubsetLeaf);
      continue;
    }
    open.push_back(LowerHalf(size));
    open.push_back(size - LowerHalf(size));
  }
  std::ranges::sort(sizes_, std::greater<>());
  for (uint32_t size : sizes_) {
    for (uint32_t count = 0; count <= k; ++count) {
      // No more than all, for size <= n and count <= k <= n / 2.
      binomials_.push_back(*Binomial(size, count));
    }
  }
}

WideRank SubsetRanks::Subsets(uint32_t size, uint32_t count) const {
  if (size == 0) return count == 0 ? 1 : 0;
  const auto at = std::ranges::lower_bound(sizes_, size, std::greater<>()) - sizes_.begin();
  return binomials_[static_cast<size_t>(at) * (k_ + 1) + count];
}

WideRank SubsetRanks::RankWithin(std::span<const uint16_t> indices, uint32_t begin,
                                 uint32_t size) const {
  if (size <= kSubsetLeaf) {
    uint32_t mask = 0;
    for (uint16_t index : indices) mask |= 1u << (index - begin);
    return SubsetLeaves::Get().ranks[mask];
  }
  if (size <= kSubsetBlock) return RankInBlock(indices, begin, size);
  const uint32_t half = LowerHalf(size);
  const auto split = std::ranges::lower_bound(indices, begin + half) - indices.begin();
  const auto lower = indices.first(static_cast<size_t>(split));
  const auto upper = indices.subspan(static_cast<size_t>(split));
  const uint32_t count = static_cast<uint32_t>(indices.size());
  WideRank rank = 0;
  for (uint32_t i = 0; i < upper.size(); ++i) {
    rank += Subsets(size - half, i) * Subsets(half, count - i);
  }
  return rank +
         RankWithin(upper, begin + half, size - half) *
             Subsets(half, static_cast<uint32_t>(lower.size())) +
         RankWithin(lower, begin, half);
}

void SubsetRanks::UnrankWithin(WideRank rank, uint32_t count, uint32_t begin, uint32_t size,
                               uint16_t* indices) const {
  if (size <= kSubsetLeaf) {
    uint32_t mask =
        SubsetLeaves::Get().masks[SubsetLeaves::Get().begin[count] + static_cast<uint32_t>(rank)];
    for (; mask != 0; mask &= mask - 1) {
      *indices++ = static_cast<uint16_t>(begin + static_cast<uint32_t>(std::countr_zero(mask)));
    }
    return;
  }
  if (size <= kSubsetBlock) return UnrankInBlock(rank, count, begin, size, indices);
  const uint32_t half = LowerHalf(size);
  uint32_t upper = 0;
  for (;; ++upper) {
    const WideRank here = Subsets(size - half, upper) * Subsets(half, count - upper);
    if (rank < here) break;
    rank -= here;
  }
  const uint32_t lower = count - upper;
  const WideRank subsets = Subsets(half, lower);
  UnrankWithin(rank % subsets, lower, begin, half, indices);
  UnrankWithin(rank / subsets, upper, begin + half, size - half, indices + lower);
}

WideRank SubsetRanks::RankInBlock(std::span<const uint16_t> indices, uint32_t begin,
                                  uint32_t size) const {
  std::array<uint32_t, kSubsetParts> counts = {}, masks = {};
  for (uint16_t index : indices) {
    const uint32_t at = index - begin;
    masks[at / kSubsetLeaf] |= 1u << (at % kSubsetLeaf);
    ++counts[at / kSubsetLeaf];
  }
  WideRank below = 0;
  ForEachSubsetType(static_cast<uint32_t>(indices.size()), [&](const auto& type) {
    if (type == counts) return true;
    WideRank subsets = 1;
    for (uint32_t i = 0; i < kSubsetParts; ++i)
      subsets *= Subsets(SubsetPartSize(size, i), type[i]);
    below += subsets;
    return false;
  });
  WideRank rank = 0;
  for (uint32_t i = kSubsetParts; i-- > 0;) {
    rank = rank * Subsets(SubsetPartSize(size, i), counts[i]) + SubsetLeaves::Get().ranks[masks[i]];
  }
  return below + rank;
}

void SubsetRanks::UnrankInBlock(WideRank rank, uint32_t count, uint32_t begin, uint32_t size,
                                uint16_t* indices) const {
  std::array<uint32_t, kSubsetParts> counts = {};
  ForEachSubsetType(count, [&](const auto& type) {
    WideRank subsets = 1;
    for (uint32_t i = 0; i < kSubsetParts; ++i)
      subsets *= Subsets(SubsetPartSize(size, i), type[i]);
    counts = type;
    if (rank < subsets) return true;
    rank -= subsets;
    return false;
  });
  for (uint32_t i = 0; i < kSubsetParts; ++i) {
    const WideRank subsets = Subsets(SubsetPartSize(size, i), counts[i]);
    UnrankWithin(rank % subsets, counts[i], begin + i * kSubsetLeaf, SubsetPartSize(size, i),
                 indices);
    rank /= subsets;
    indices += counts[i];
  }
}

WideRank SubsetRanks::Rank(std::span<const uint16_t> indices) const {
  ISTHMUS_CHECK(indices.size() == k_);
  return RankWithin(indices, 0, n_);
}

void SubsetRanks::Unrank(WideRank rank, uint16_t* indices) const {
  UnrankWithin(rank, k_, 0, n_, indices);
}

}  // namespace isthmus
