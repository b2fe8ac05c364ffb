#include "common/gpu/update_image.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"

namespace isthmus {
namespace {

static_assert(std::endian::native == std::endian::little, "devices read words of bytes");

template <typename T>
const T* At(const void* device, size_t offset) {
  return reinterpret_cast<const T*>(static_cast<const std::byte*>(device) + offset);
}

template <typename T>
void Store(const T& value, size_t offset, std::span<std::byte> bytes) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

bool Meet(const PayloadPlace& a, const PayloadPlace& b) {
  return a.chunks.first < b.chunks.first + b.chunks.count &&
         b.chunks.first < a.chunks.first + a.chunks.count;
}

}  // namespace

bool UpdateImage::merges() const {
  return encoding_ == UpdateEncoding::kContributions || encoding_ == UpdateEncoding::kRequantized;
}

size_t UpdateImage::Reserve(size_t size) {
  constexpr size_t kBeyond = 8;  // LoadWordBits
  const size_t at = size_bytes_;
  size_bytes_ = (at + size + kBeyond + 15) / 16 * 16;
  return at;
}

size_t UpdateImage::Add(std::span<const std::byte> from) {
  const size_t at = Reserve(from.size());
  pieces_.push_back({at, from});
  return at;
}

UpdateImage::Presence UpdateImage::AddPresence(const PresenceMap& map, uint64_t chunks) {
  if (map.all()) return {};
  const size_t bytes = PresenceWords(chunks) * sizeof(uint32_t);
  return {&map, chunks, Reserve(bytes), Reserve(bytes)};
}

void UpdateImage::Begin(const UpdateView& update, const PayloadPlace& part,
                        const PartRecords& own) {
  const UpdateView::Contents contents = update.contents();
  encoding_ = update.encoding();
  block_scales_ = update.format().contribution.block_scales;
  part_ = part;
  update_ = contents.place;
  own_ = own;
  size_bytes_ = 0;
  pieces_.clear();
  parts_.clear();
  contributions_.clear();
  if (merges()) {
    for (const UpdateView::Contribution& contribution : contents.contributions) {
      Contribution& mine = contributions_.emplace_back();
      mine.weight = contribution.weight;
      mine.first_part = parts_.size();
      mine.own = contribution.parts.empty();
      for (const PayloadView& view : contribution.parts) {
        if (!Meet(view.place(), part)) continue;
        parts_.push_back({view.place(), Add(view.records()),
                          AddPresence(view.presence(), view.place().chunks.count),
                          view.format().values});
      }
      if (mine.own) parts_.emplace_back();
      mine.part_count = parts_.size() - mine.first_part;
    }
    parts_table_ = Reserve(parts_.size() * sizeof(PartRecords));
    contributions_table_ = Reserve(contributions_.size() * sizeof(ContributionRecords));
    return;
  }
  presence_ = AddPresence(*contents.presence, contents.place.chunks.count);
  if (encoding_ == UpdateEncoding::kValues) {
    value_ranks_ = contents.value_rank;
    body_ = Add(contents.body);
    values_ = Add(contents.values);
    value_rank_ = Reserve(value_ranks_.size() * sizeof(uint32_t));
    return;
  }
  body_ = Add(contents.body);
  zeros_ = Add(contents.zeros);
  zero_count_ = contents.zeros.size() / sizeof(uint32_t);
}

PresenceView UpdateImage::WritePresence(const Presence& presence, const void* device,
                                        std::span<std::byte> bytes) {
  if (presence.map == nullptr) return {};
  uint32_t before = 0;
  for (uint64_t word = 0; word < PresenceWords(presence.chunks); ++word) {
    uint32_t bits = 0;
    const uint64_t end = std::min<uint64_t>(32, presence.chunks - word * 32);
    for (uint64_t i = 0; i < end; ++i) {
      bits |= uint32_t{presence.map->Present(word * 32 + i)} << i;
    }
    Store(bits, presence.bits + word * sizeof(uint32_t), bytes);
    Store(before, presence.before + word * sizeof(uint32_t), bytes);
    before += static_cast<uint32_t>(std::popcount(bits));
  }
  return {At<uint32_t>(device, presence.bits), At<uint32_t>(device, presence.before)};
}

void UpdateImage::Write(const void* device, std::span<std::byte> bytes, ApplyParams* params) const {
  ISTHMUS_CHECK(bytes.size() >= size_bytes_);
  for (const Piece& piece : pieces_) {
    if (!piece.from.empty()) {
      std::memcpy(bytes.data() + piece.at, piece.from.data(), piece.from.size());
    }
  }
  params->encoding = encoding_;
  params->round = part_.round;
  params->first_chunk = part_.chunks.first;
  params->chunks = part_.chunks.count;
  if (merges()) {
    params->block_scales = block_scales_;
    for (size_t i = 0; i < parts_.size(); ++i) {
      const Part& part = parts_[i];
      Store(PartRecords{.first_chunk = part.place.chunks.first,
                        .chunks = part.place.chunks.count,
                        .records = At<uint32_t>(device, part.records),
                        .presence = WritePresence(part.presence, device, bytes),
                        .values = part.values},
            parts_table_ + i * sizeof(PartRecords), bytes);
    }
    for (size_t i = 0; i < contributions_.size(); ++i) {
      const Contribution& contribution = contributions_[i];
      const size_t first = parts_table_ + contribution.first_part * sizeof(PartRecords);
      if (contribution.own) Store(own_, first, bytes);
      Store(ContributionRecords{.weight = contribution.weight,
                                .part_count = static_cast<uint32_t>(contribution.part_count),
                                .parts = At<PartRecords>(device, first)},
            contributions_table_ + i * sizeof(ContributionRecords), bytes);
    }
    params->contributions = At<ContributionRecords>(device, contributions_table_);
    params->contribution_count = static_cast<uint32_t>(contributions_.size());
    return;
  }
  params->update_chunk = update_.chunks.first;
  params->presence = WritePresence(presence_, device, bytes);
  params->body = At<uint32_t>(device, body_);
  if (encoding_ == UpdateEncoding::kValues) {
    params->values = At<uint32_t>(device, values_);
    params->value_rank = At<uint32_t>(device, value_rank_);
    for (size_t i = 0; i < value_ranks_.size(); ++i) {
      Store(static_cast<uint32_t>(value_ranks_[i]), value_rank_ + i * sizeof(uint32_t), bytes);
    }
    return;
  }
  params->zeros = At<uint32_t>(device, zeros_);
  params->zero_count = zero_count_;
}

}  // namespace isthmus
