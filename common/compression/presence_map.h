// Which chunks of a payload are there: one bit per chunk, least significant first (1: present),
// zero-padded to a whole byte; left out altogether when all are.
#ifndef ISTHMUS_COMMON_COMPRESSION_PRESENCE_MAP_H_
#define ISTHMUS_COMMON_COMPRESSION_PRESENCE_MAP_H_

#include <absl/status/status.h>
#include <absl/strings/string_view.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/compression/bit_stream.h"
#include "common/compression/payload_check.h"

namespace isthmus {

// A view with a small directory, so that counting the chunks before one takes a few words and no
// memory. The bytes must outlive it. Thread-safe to read.
class PresenceMap {
 public:
  PresenceMap() = default;
  // All of `chunks` are present.
  explicit PresenceMap(uint64_t chunks) : chunks_(chunks), present_(chunks) {}

  // `bytes` is BytesForBits(chunks) long. Errors: INVALID_ARGUMENT for set padding, and for a map
  // that says nothing, since all chunks are present. `name` says whose.
  static absl::StatusOr<PresenceMap> Parse(absl::string_view name, uint64_t chunks,
                                           std::span<const std::byte> bytes) {
    PresenceMap map;
    map.chunks_ = chunks;
    map.bytes_ = bytes;
    const uint64_t words = (chunks + 63) / 64;
    map.entry_words_ = (words + kEntries - 1) / kEntries;
    for (uint64_t word = 0; word < words; ++word) {
      if (word % map.entry_words_ == 0) {
        map.before_[word / map.entry_words_] = static_cast<uint32_t>(map.present_);
      }
      map.present_ += static_cast<uint64_t>(std::popcount(map.Word(word)));
    }
    if (chunks % 8 != 0) {
      const unsigned last = std::to_integer<unsigned>(bytes.back());
      const absl::Status padding = ExpectField(name, "presence padding", 0, last >> (chunks % 8));
      if (!padding.ok()) return padding;
    }
    if (map.present_ < chunks) return map;
    return absl::InvalidArgumentError(
        absl::StrCat(name, " presence: expected an absent chunk, got a map of present ones"));
  }

  // What a payload says behind its header: takes the map off the front of `body` if there is one,
  // `map`; otherwise all are present. Errors: INVALID_ARGUMENT, also for a body that is too short.
  static absl::StatusOr<PresenceMap> ParseIf(bool map, absl::string_view name, uint64_t chunks,
                                             std::span<const std::byte>* body) {
    if (!map) return PresenceMap(chunks);
    const uint64_t size = BytesForBits(chunks);
    if (body->size() < size) {
      return absl::InvalidArgumentError(absl::StrCat(name, " presence length: expected at least ",
                                                     size, " bytes, got ", body->size()));
    }
    const std::span<const std::byte> bytes = body->first(size);
    *body = body->subspan(size);
    return Parse(name, chunks, bytes);
  }

  uint64_t present_chunks() const { return present_; }
  bool all() const { return bytes_.empty(); }
  bool Present(uint64_t chunk) const {
    return all() || (Word(chunk / 64) >> (chunk % 64) & 1) != 0;
  }
  // The number of present chunks before `chunk`.
  uint64_t Before(uint64_t chunk) const {
    if (all()) return chunk;
    const uint64_t entry = chunk / 64 / entry_words_;
    uint64_t before = before_[entry];
    for (uint64_t word = entry * entry_words_; word < chunk / 64; ++word) {
      before += static_cast<uint64_t>(std::popcount(Word(word)));
    }
    if (chunk % 64 == 0) return before;
    const uint64_t below = (uint64_t{1} << (chunk % 64)) - 1;
    return before + static_cast<uint64_t>(std::popcount(Word(chunk / 64) & below));
  }

 private:
  static constexpr uint64_t kEntries = 64;

  uint64_t Word(uint64_t word) const {
    const size_t at = word * 8;
    if (at + 8 <= bytes_.size()) return LoadLittleEndian<uint64_t>(bytes_.data() + at);
    uint64_t bits = 0;
    for (size_t i = at; i < bytes_.size(); ++i) {
      bits |= std::to_integer<uint64_t>(bytes_[i]) << (8 * (i - at));
    }
    return bits;
  }

  uint64_t chunks_ = 0;
  uint64_t present_ = 0;
  std::span<const std::byte> bytes_;  // empty: all are present
  uint64_t entry_words_ = 1;
  std::array<uint32_t, kEntries> before_ = {};  // present chunks before each entry's words
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_PRESENCE_MAP_H_
