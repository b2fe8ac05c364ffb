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
      if (size % kSubsetLeaf != 0) open.push_back(size % kSubsetLeaf);
      open.push_back((size - 1) / kSubsetLeaf * kSubsetLeaf);  // what is below the highest part
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
  if (size == 0 || count > size) return count == 0 ? 1 : 0;
  size_t at = 0;
  while (sizes_[at] != size) ++at;
  return binomials_[at * (k_ + 1) + count];
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

// Types before this one, without counting them one by one: those with as many elements in the parts
// above and fewer in part i, for every i.
WideRank SubsetRanks::RankInBlock(std::span<const uint16_t> indices, uint32_t begin,
                                  uint32_t size) const {
  std::array<uint32_t, kSubsetParts> counts = {}, masks = {};
  for (uint16_t index : indices) {
    const uint32_t at = index - begin;
    masks[at / kSubsetLeaf] |= 1u << (at % kSubsetLeaf);
    ++counts[at / kSubsetLeaf];
  }
  WideRank below = 0, rank = 0;
  WideRank above = 1;  // subsets of the parts above with their counts
  auto left = static_cast<uint32_t>(indices.size());
  for (uint32_t i = kSubsetParts; i-- > 0;) {
    const uint32_t part = SubsetPartSize(size, i), rest = std::min(size, i * kSubsetLeaf);
    for (uint32_t fewer = 0; fewer < counts[i]; ++fewer) {
      below += above * Subsets(part, fewer) * Subsets(rest, left - fewer);
    }
    const WideRank subsets = Subsets(part, counts[i]);
    above *= subsets;
    left -= counts[i];
    rank = rank * subsets + SubsetLeaves::Get().ranks[masks[i]];
  }
  return below + rank;
}

void SubsetRanks::UnrankInBlock(WideRank rank, uint32_t count, uint32_t begin, uint32_t size,
                                uint16_t* indices) const {
  std::array<uint32_t, kSubsetParts> counts;
  WideRank above = 1;
  uint32_t left = count;
  for (uint32_t i = kSubsetParts; i-- > 0;) {
    const uint32_t part = SubsetPartSize(size, i), rest = std::min(size, i * kSubsetLeaf);
    for (counts[i] = 0;; ++counts[i]) {
      ISTHMUS_CHECK(counts[i] <= left);  // or the rank is none
      const WideRank with = above * Subsets(part, counts[i]);
      const WideRank here = with * Subsets(rest, left - counts[i]);
      if (rank < here) {
        above = with;
        break;
      }
      rank -= here;
    }
    left -= counts[i];
  }
  for (uint32_t i = 0; i < kSubsetParts; ++i) {
    const uint32_t part = SubsetPartSize(size, i);
    const WideRank subsets = Subsets(part, counts[i]);
    UnrankWithin(rank % subsets, counts[i], begin + i * kSubsetLeaf, part, indices);
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
