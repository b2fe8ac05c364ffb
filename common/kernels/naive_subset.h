// The rank of a subset and back, naively: what tile_kernels.h defines (SubsetTables), of chunks of
// any size and ranks of up to 128 bits, by sums of binomials. What subset_formulas.h does with
// tables, wide_subset_formulas.h and common/compression/subset_ranks.h with fewer.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_SUBSET_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_SUBSET_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <vector>

#include "common/kernels/naive_tile.h"
#include "common/kernels/wide_subset_formulas.h"

namespace isthmus::naive {

// How many k-subsets n elements have, k <= 64: Pascal's triangle, kept as far as it was asked for.
// (No rank of 128 bits has a larger k.) Not thread-safe.
inline WideRank Choose(size_t n, size_t k) {
  static std::vector<std::array<WideRank, 65>> rows = {{1}};
  while (rows.size() <= n) {
    std::array<WideRank, 65> row = rows.back();
    for (size_t j = row.size() - 1; j > 0; --j) row[j] += row[j - 1];
    rows.push_back(row);
  }
  return rows[n].at(k);
}

inline size_t Count(const Elements& x) {
  return static_cast<size_t>(std::count(x.begin(), x.end(), true));
}

// Up to 64 elements have parts of 16, more have two halves: where the part begins that ends at
// `end`.
inline size_t PartBegin(size_t n, size_t end) {
  if (n <= 64) return (end - 1) / 16 * 16;
  return end == n ? std::bit_ceil(n) / 2 : 0;
}

// How many subsets with as many elements come before x.
inline WideRank Rank(const Elements& x) {
  WideRank rank = 0;
  if (x.size() <= 16) {  // those that are smaller numbers: with a lower highest element, and so on
    size_t seen = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i]) rank += Choose(i, ++seen);
    }
    return rank;
  }
  // First those with fewer elements in the highest part, or as many and fewer in the next, and so
  // on; of those with the same counts, ranks of the parts are digits.
  WideRank below = 0, above = 1;  // `above`: ways to fill the parts so far with their counts
  size_t left = Count(x);
  for (size_t end = x.size(), begin; end > 0; end = begin) {
    begin = PartBegin(x.size(), end);
    const Elements part(x.begin() + static_cast<ptrdiff_t>(begin),
                        x.begin() + static_cast<ptrdiff_t>(end));
    const size_t count = Count(part);
    for (size_t fewer = 0; fewer < count; ++fewer) {
      below += above * Choose(part.size(), fewer) * Choose(begin, left - fewer);
    }
    above *= Choose(part.size(), count);
    rank = rank * Choose(part.size(), count) + Rank(part);
    left -= count;
  }
  return below + rank;
}

// The subset of k of n elements whose rank that is; there is one.
inline Elements Unrank(size_t n, size_t k, WideRank rank) {
  Elements x(n);
  if (n <= 16) {
    for (size_t i = n; i-- > 0;) {
      if (rank < Choose(i, k)) continue;
      rank -= Choose(i, k--);
      x[i] = true;
    }
    return x;
  }
  std::vector<size_t> counts;  // of the parts, the highest first
  WideRank above = 1;
  for (size_t end = n, begin, left = k; end > 0; end = begin, left -= counts.back()) {
    begin = PartBegin(n, end);
    const auto ways = [&](size_t count) {
      return above * Choose(end - begin, count) * Choose(begin, left - count);
    };
    counts.push_back(0);
    while (rank >= ways(counts.back())) rank -= ways(counts.back()++);
    above *= Choose(end - begin, counts.back());
  }
  for (size_t end = n, begin, i = 0; end > 0; end = begin, ++i) {
    begin = PartBegin(n, end);
    above /= Choose(end - begin, counts[i]);  // of the parts below
    const Elements part = Unrank(end - begin, counts[i], rank / above);
    std::copy(part.begin(), part.end(), x.begin() + static_cast<ptrdiff_t>(begin));
    rank %= above;
  }
  return x;
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_SUBSET_H_
