// What groups send in a round: the part of a run that may change at a round's boundary, apart from
// what never does (run_spec.h). FormatAt() is the one way to ask.
#ifndef ISTHMUS_COMMON_RUN_ROUND_FORMAT_H_
#define ISTHMUS_COMMON_RUN_ROUND_FORMAT_H_

#include <absl/status/status.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/formats.h"
#include "common/tensor/chunk_run.h"

namespace isthmus {

struct RunSpec;

// One group's part of it: how much of a chunk it sends, and in how many bits.
struct GroupFormat {
  uint32_t k = 4;  // coefficients kept of each chunk
  ValueFormat values = ValueFormat::kBf16;
  friend bool operator==(const GroupFormat&, const GroupFormat&) = default;
};

// How far apart exchanges are: a run that exchanges every step has 1. In one of these.
struct Period {
  static constexpr uint32_t kMostSteps = 1'000'000;
  static constexpr uint64_t kMostSamples = uint64_t{1} << 53;
  static constexpr uint64_t kMostMillis = 86'400'000;
  uint32_t steps = 1;    // of a job, which counts them; 0: the coordinator counts one of these
  uint64_t samples = 0;  // of all groups together
  uint64_t millis = 0;
  friend bool operator==(const Period&, const Period&) = default;
};

// One round's. The chunk grid is the same for all groups (P2).
struct RoundFormat {
  uint32_t chunk_size = 64;  // elements
  GroupFormat all;           // of every group that has none of its own
  std::map<GroupId, GroupFormat> own;
  Period every;
  uint32_t overlap = 0;  // steps that a job goes on after an exchange has begun, up to every.steps
  friend bool operator==(const RoundFormat&, const RoundFormat&) = default;

  const GroupFormat& of(GroupId group) const {
    const auto at = own.find(group);
    return at == own.end() ? all : at->second;
  }
};

// Some group sends every element.
inline bool SendsWholeChunks(const RoundFormat& format) {
  const auto whole = [&](const GroupFormat& its) { return its.k == format.chunk_size; };
  return whole(format.all) ||
         std::ranges::any_of(format.own, [&](const auto& own) { return whole(own.second); });
}

// Limit on RoundFormat::own.
inline constexpr size_t kMaxGroupFormats = 1024;

// Rounds from `from` on have `format`, until the next change. The update of a round says it of a
// later one (docs/protocol.md, P30).
struct FormatChange {
  Round from;
  RoundFormat format;
  friend bool operator==(const FormatChange&, const FormatChange&) = default;
};

// What a contribution to some bucket looks like, and the chunks that it is of.
struct PayloadShape {
  PayloadFormat format;
  ChunkRun chunks;
};

// The formats of a run's rounds. What is in flight, an update and its contributions name their
// round and group, and so the format that they were made under. A value: who needs it on another
// thread has a copy. Thread-compatible.
class RoundFormats {
 public:
  // Of all rounds as `run` has it, which Validate() accepts.
  explicit RoundFormats(const RunSpec& run);

  // Of changes that are remembered; older ones are forgotten.
  static constexpr size_t kMost = 1024;
  // What CheckFollows() accepts.
  void Change(const FormatChange& change);
  // Nothing is known of rounds before `round` from now on.
  void Forget(Round before);
  // False: the round's format was forgotten, and nothing else here may be asked of it.
  bool Knows(Round round) const { return round >= formats_.begin()->first; }
  // What is known of `round`, which is, and of later ones, ascending.
  std::vector<FormatChange> From(Round round) const;
  // The first round that is known, and the last from which there is a change.
  Round first() const { return formats_.begin()->first; }
  Round last() const { return formats_.rbegin()->first; }

  // What the contribution of `group` to `round` looks like.
  PayloadFormat FormatAt(Round round, GroupId group) const;
  // What their merge looks like, of whatever groups.
  UpdateFormat MergedAt(Round round) const;
  const RoundFormat& At(Round round) const;
  // Where the chunks of a run of elements lie in the grid of `round`.
  ChunkRun ChunksAt(Round round, const Extent& elements) const {
    return ChunksOf(elements, At(round).chunk_size);
  }

 private:
  // What no round changes.
  PayloadFormat contribution_;
  MergeRule merge_;
  bool sign_;
  bool blocks_;  // all are sent, with a scale for each block where values have one
  std::map<Round, RoundFormat> formats_;  // from each on; one at least
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_ROUND_FORMAT_H_
