#include "common/compression/index_coding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/kernels/simd.h"

namespace isthmus {
namespace {

constexpr uint64_t kMaxTable = uint64_t{1} << 20;  // binomials
constexpr int kNarrowBits = 52;                    // ranks that a double and LoadBits() hold

// The least rank with key `key` (tile_kernels.h, kGuessKeys), as the key reads in a double.
uint64_t FirstRank(size_t key) {
  const uint64_t bits = (static_cast<uint64_t>(key) << (52 - kGuessBits)) + (uint64_t{1023} << 52);
  return static_cast<uint64_t>(std::ceil(std::bit_cast<double>(bits))) - 1;
}

int BitWidth(unsigned long long high, unsigned long long low) {
  return static_cast<int>(high != 0 ? 64 + std::bit_width(high) : std::bit_width(low));
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
  // binom(chunk_size, k), factor by factor, each product divisible, and divided before it is made;
  // beyond 128 bits it is not wanted.
  Wide subsets = 1;
  const uint32_t smaller = std::min(k, chunk_size - k);
  for (uint32_t i = 1; i <= smaller; ++i) {
    const uint32_t common = std::gcd(i, static_cast<uint32_t>(subsets % i));
    const uint32_t factor = (chunk_size - smaller + i) / (i / common);
    subsets /= common;
    if (subsets > ~Wide{0} / factor) return;
    subsets *= factor;
  }
  const Wide largest = subsets - 1;
  const int rank_bits =
      BitWidth(static_cast<uint64_t>(largest >> 64), static_cast<uint64_t>(largest));
  if (rank_bits >= bits_) return;
  // Nearly all of a large chunk: few bits, but tables out of proportion.
  if (uint64_t{k} * (chunk_size + 1) > kMaxTable) return;
  coding_ = IndexCoding::kEnumerative;
  bits_ = rank_bits;
  if (rank_bits <= kNarrowBits) {
    narrow_ = MakeTable<uint64_t>();
    narrow_.subsets = static_cast<uint64_t>(subsets);
    MakeGuesses();
  } else {
    wide_ = MakeTable<Wide>();
    wide_.subsets = subsets;
  }
}

template <typename Rank>
IndexCoder::Table<Rank> IndexCoder::MakeTable() const {
  constexpr Rank kMost = ~Rank{0};
  Table<Rank> table;
  table.binomials.resize(size_t{k_} * (chunk_size_ + 1));
  for (uint32_t i = 0; i < k_; ++i) {
    Rank* row = table.binomials.data() + size_t{i} * (chunk_size_ + 1);
    const Rank* above = i == 0 ? nullptr : row - (chunk_size_ + 1);
    row[0] = 0;
    for (uint32_t c = 1; c <= chunk_size_; ++c) {  // Pascal: binom(c-1, i+1) + binom(c-1, i)
      const Rank less = above == nullptr ? Rank{1} : above[c - 1];
      row[c] = row[c - 1] > kMost - less ? kMost : row[c - 1] + less;
    }
  }
  return table;
}

void IndexCoder::MakeGuesses() {
  guesses_.resize(size_t{k_} * kGuessKeys);
  steps_.resize(k_);
  for (uint32_t i = 0; i < k_; ++i) {
    const uint64_t* row = narrow_.row(i, chunk_size_);
    uint16_t* guess = guesses_.data() + size_t{i} * kGuessKeys;
    // The largest offset whose binomial is at most `rank`.
    const auto at = [&](uint64_t rank) {
      return static_cast<int>(std::upper_bound(row, row + chunk_size_, rank) - row) - 1;
    };
    for (size_t key = 0; key < kGuessKeys; ++key) {
      const int first = at(FirstRank(key));
      guess[key] = static_cast<uint16_t>(first);
      if (key + 1 == kGuessKeys || FirstRank(key) >= narrow_.subsets) continue;
      const uint64_t last = std::min(FirstRank(key + 1), narrow_.subsets) - 1;
      steps_[i] = std::max(steps_[i], at(last) - first);
    }
  }
  unrank_ = {chunk_size_, k_, narrow_.binomials.data(), guesses_.data(), steps_.data()};
}

template <typename Rank>
void IndexCoder::EncodeRank(const Table<Rank>& table, const uint16_t* indices,
                            BitWriter& out) const {
  Rank rank = 0;
  for (uint32_t i = 0; i < k_; ++i) rank += table.row(i, chunk_size_)[indices[i]];
  for (int left = bits_; left > 0; left -= 32, rank >>= 31, rank >>= 1) {
    out.Put(static_cast<uint32_t>(rank & 0xffffffff), std::min(left, 32));
  }
}

void IndexCoder::Encode(const uint16_t* indices, BitWriter& out) const {
  if (coding_ == IndexCoding::kPacked) {
    for (uint32_t i = 0; i < k_; ++i) out.Put(indices[i], index_bits_);
  } else if (bits_ <= kNarrowBits) {
    uint64_t rank = 0;
    const uint64_t* row = narrow_.binomials.data();
    for (uint32_t i = 0; i < k_; ++i, row += chunk_size_ + 1) rank += row[indices[i]];
    out.Put(rank, bits_);
  } else {
    EncodeRank(wide_, indices, out);
  }
}

template <typename Rank>
Rank IndexCoder::LoadRank(std::span<const std::byte> bytes, uint64_t bit) const {
  Rank rank = 0;
  for (int at = 0; at < bits_; at += 32) {
    const int width = std::min(bits_ - at, 32);
    rank |= static_cast<Rank>(LoadBits(bytes, bit + static_cast<uint64_t>(at), width)) << at;
  }
  return rank;
}

bool IndexCoder::Valid(std::span<const std::byte> bytes, uint64_t bit) const {
  if (coding_ == IndexCoding::kEnumerative) {
    if (bits_ <= kNarrowBits) return LoadBits(bytes, bit, bits_) < narrow_.subsets;
    return LoadRank<Wide>(bytes, bit) < wide_.subsets;
  }
  int64_t previous = -1;
  for (uint32_t i = 0; i < k_; ++i, bit += static_cast<uint64_t>(index_bits_)) {
    const int64_t index = static_cast<int64_t>(LoadBits(bytes, bit, index_bits_));
    if (index <= previous || index >= chunk_size_) return false;
    previous = index;
  }
  return true;
}

void IndexCoder::DecodeWide(Wide rank, uint16_t* indices) const {
  for (uint32_t i = k_; i-- > 0;) {
    const Wide* row = wide_.row(i, chunk_size_);
    const Wide* above = std::upper_bound(row, row + chunk_size_, rank);
    rank -= *(above - 1);
    indices[i] = static_cast<uint16_t>(above - 1 - row);
  }
}

void IndexCoder::Decode(std::span<const std::byte> bytes, uint64_t first_bit, uint64_t stride_bits,
                        int count, uint16_t* indices) const {
  if (coding_ == IndexCoding::kEnumerative && bits_ <= kNarrowBits) {
    uint64_t ranks[kBatch];
    for (int i = 0; i < count; ++i, first_bit += stride_bits) {
      ranks[i] = LoadBits(bytes, first_bit, bits_);
    }
    return ActiveKernels().unrank(unrank_, ranks, count, indices);
  }
  for (int i = 0; i < count; ++i, first_bit += stride_bits, indices += k_) {
    if (coding_ == IndexCoding::kEnumerative) {
      DecodeWide(LoadRank<Wide>(bytes, first_bit), indices);
      continue;
    }
    for (uint32_t j = 0; j < k_; ++j) {
      indices[j] = static_cast<uint16_t>(
          LoadBits(bytes, first_bit + j * static_cast<uint32_t>(index_bits_), index_bits_));
    }
  }
}

}  // namespace isthmus
