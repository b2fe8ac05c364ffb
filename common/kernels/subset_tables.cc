#include "common/kernels/subset_tables.h"

#include <bit>
#include <numeric>

#include "common/base/check.h"

namespace isthmus {
namespace {

SubsetDivisor Divisor(uint64_t value) {
  if (value == 0) return {0, 0, 0};  // nobody divides by it
  const int shift = static_cast<int>(std::bit_width(value - 1));
  const WideRank reciprocal = ((WideRank{1} << (kRankBits + shift)) + value - 1) / value;
  return {value, static_cast<uint64_t>(reciprocal), static_cast<uint64_t>(shift)};
}

}  // namespace

std::optional<WideRank> Binomial(uint32_t n, uint32_t k) {
  if (k > n) return WideRank{0};
  // Factor by factor, each product divisible, and divided before it is made.
  WideRank subsets = 1;
  const uint32_t smaller = std::min(k, n - k);
  for (uint32_t i = 1; i <= smaller; ++i) {
    const uint32_t common = std::gcd(i, static_cast<uint32_t>(subsets % i));
    const uint32_t factor = (n - smaller + i) / (i / common);
    subsets /= common;
    if (subsets > ~WideRank{0} / factor) return std::nullopt;
    subsets *= factor;
  }
  return subsets;
}

SubsetLeaves::SubsetLeaves() : masks(65536), ranks(65536), begin{}, type_begin{} {
  uint32_t at = 0;
  for (int count = 0; count <= kSubsetLeaf; ++count) {
    begin[static_cast<size_t>(count)] = static_cast<uint16_t>(at);
    for (uint32_t mask = 0; mask < 65536; ++mask) {
      if (std::popcount(mask) != count) continue;
      ranks[mask] = static_cast<uint16_t>(at - begin[static_cast<size_t>(count)]);
      masks[at++] = static_cast<uint16_t>(mask);
    }
  }
  // ways[c]: how many types the parts so far have with c elements. Those before a type with
  // `here` in the next part have fewer there.
  std::vector<uint32_t> ways(kMaxCount + 1, 0);
  std::fill_n(ways.begin(), kSubsetLeaf + 1, 1);
  for (auto& begin_of : type_begin) {
    std::vector<uint32_t> more(kMaxCount + 1, 0);
    for (uint32_t count = 0; count <= kMaxCount; ++count) {
      for (uint32_t here = 0; here <= std::min<uint32_t>(count, kSubsetLeaf); ++here) {
        begin_of[count][here] = static_cast<uint16_t>(more[count]);
        more[count] += ways[count - here];
      }
    }
    ways = more;
  }
}

const SubsetLeaves& SubsetLeaves::Get() {
  static const auto& leaves = *new SubsetLeaves;
  return leaves;
}

SubsetTableSet::SubsetTableSet(uint32_t n, uint32_t k, bool complement) : k_(k) {
  ISTHMUS_CHECK(std::has_single_bit(n) && kSubsetLeaf <= n && n <= 4096 && 2 * k <= n);
  const std::optional<WideRank> subsets = Binomial(n, k);
  ISTHMUS_CHECK(k <= SubsetLeaves::kMaxCount && subsets && *subsets <= WideRank{1} << kRankBits);
  blocks_.resize(k + 1);
  pointers_.resize(k + 1);
  const uint32_t block = std::min<uint32_t>(n, kSubsetBlock);
  // A chunk of one block has k elements, a block of several has any number.
  for (uint32_t count = n > block ? 0 : k; count <= k; ++count) AddBlock(block, count);
  for (uint32_t size = 2 * kSubsetBlock; size <= n; size *= 2) {
    for (uint32_t count = 0; count <= k; ++count) AddSplits(size, count);
  }
  tables_ = {.size = n,
             .k = k,
             .complement = complement,
             .blocks = pointers_.data(),
             .splits = splits_.data(),
             .leaf_masks = SubsetLeaves::Get().masks.data(),
             .leaf_ranks = SubsetLeaves::Get().ranks.data(),
             .type_begin = SubsetLeaves::Get().type_begin};
}

void SubsetTableSet::AddBlock(uint32_t size, uint32_t count) {
  Block& block = blocks_[count];
  uint64_t below = 0;
  ForEachSubsetType(count, [&](const std::array<uint32_t, kSubsetParts>& counts) {
    uint64_t subsets[kSubsetParts];
    SubsetType type;
    for (uint32_t i = 0; i < kSubsetParts; ++i) {
      subsets[i] = static_cast<uint64_t>(*Binomial(SubsetPartSize(size, i), counts[i]));
      type.begin[i] = static_cast<uint16_t>(SubsetLeaves::Get().begin[counts[i]]);
    }
    type.pair = Divisor(subsets[0] * subsets[1]);
    for (uint32_t i : {0u, 1u}) {
      const uint64_t part = subsets[2 * i];
      type.parts[i] = static_cast<uint16_t>(part);
      type.part_reciprocals[i] = part == 0 ? 0 : ((uint64_t{1} << kPartShift) + part - 1) / part;
    }
    block.below.push_back(below);
    block.types.push_back(type);
    below += subsets[0] * subsets[1] * subsets[2] * subsets[3];
    return false;
  });
  block.below.push_back(~uint64_t{0});
  const auto bits = static_cast<int>(std::bit_width(below - 1));
  block.shift = static_cast<uint64_t>(
      std::max(0, bits - static_cast<int>(std::bit_width(kSubsetGuesses - 1u))));
  uint16_t type = 0;
  for (uint64_t key = 0; key < kSubsetGuesses; ++key) {
    while (block.below[type + 1u] <= std::min(key << block.shift, below - 1)) ++type;
    block.guesses.push_back(type);
  }
  pointers_[count] = {block.below.data(), block.types.data(), block.guesses.data(), block.shift};
}

void SubsetTableSet::AddSplits(uint32_t size, uint32_t count) {
  const size_t first = splits_.size();
  uint64_t below = 0;
  for (uint32_t upper = 0; upper <= count; ++upper) {
    const auto lower = static_cast<uint64_t>(*Binomial(size / 2, count - upper));
    splits_.push_back({below, Divisor(lower)});
    below += static_cast<uint64_t>(*Binomial(size / 2, upper)) * lower;
  }
  splits_.resize(first + k_ + 2, {~uint64_t{0}, {}});
}

}  // namespace isthmus
