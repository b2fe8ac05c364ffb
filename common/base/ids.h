// Strongly typed ids: a round never lands where an epoch was meant.
#ifndef ISTHMUS_COMMON_BASE_IDS_H_
#define ISTHMUS_COMMON_BASE_IDS_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace isthmus {

// An integer that converts to nothing else. Ordered, hashable, incrementable.
template <typename Tag, typename Rep>
class StrongId {
 public:
  using Value = Rep;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr StrongId next() const { return StrongId(value_ + 1); }
  constexpr StrongId& operator++() {
    ++value_;
    return *this;
  }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;
  template <typename H>
  friend H AbslHashValue(H h, StrongId id) {
    return H::combine(std::move(h), id.value_);
  }
  // For test output.
  friend void PrintTo(StrongId id, std::ostream* os) { *os << id.value_; }

 private:
  Rep value_ = 0;
};

// A replica group: everything that holds one copy of the model together. Chosen by the operator;
// contributions are merged in ascending group id.
using GroupId = StrongId<struct GroupIdTag, uint32_t>;
// One process lifetime of a group's worker daemon; numbered from 1 by the coordinator.
using Incarnation = StrongId<struct IncarnationTag, uint64_t>;
// Version of the membership. Never a pass over data.
using Epoch = StrongId<struct EpochTag, uint64_t>;
// One exchange between groups; the first is 1, and 0 means "before training".
using Round = StrongId<struct RoundTag, uint64_t>;
// Index of a bucket in the flat vector.
using BucketIndex = StrongId<struct BucketIndexTag, uint32_t>;
// Position in the coordinator's sequence of updates; the first is 1, 0 means "none yet".
using Sequence = StrongId<struct SequenceTag, uint64_t>;
// One connection of a worker's exchange stream, unique for a coordinator's lifetime.
using StreamId = StrongId<struct StreamIdTag, uint64_t>;
// One relay of a snapshot from a donor to a joiner.
using TransferId = StrongId<struct TransferIdTag, uint64_t>;

}  // namespace isthmus

template <typename Tag, typename Rep>
struct std::hash<isthmus::StrongId<Tag, Rep>> {
  size_t operator()(isthmus::StrongId<Tag, Rep> id) const { return std::hash<Rep>()(id.value()); }
};

#endif  // ISTHMUS_COMMON_BASE_IDS_H_
