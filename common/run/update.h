// An update as the state machines see it: everything but the payload's bytes.
#ifndef ISTHMUS_COMMON_RUN_UPDATE_H_
#define ISTHMUS_COMMON_RUN_UPDATE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/ids.h"
#include "common/run/round_format.h"

namespace isthmus {

// How far a run has come: what its schedules go by. Of each round with contributors the most steps
// that a job has taken in it, and the samples of all of them.
struct RunTotals {
  static constexpr uint64_t kMost = uint64_t{1} << 53;  // exact in a double; counted no further

  uint64_t steps = 0;
  uint64_t samples = 0;
  friend bool operator==(const RunTotals&, const RunTotals&) = default;

  void Add(const RunTotals& more) {
    steps = std::min(kMost, steps + std::min(more.steps, kMost));
    samples = std::min(kMost, samples + std::min(more.samples, kMost));
  }
};

// What came with the gradients of a round.
struct ContributionInfo {
  // What a coordinator takes; a job's own bounds (worker/jobs/job_server.h) are the same.
  static constexpr float kMaxRate = 1e6f;                     // of lr and weight_decay, from 0
  static constexpr uint64_t kMaxSamples = uint64_t{1} << 53;  // exact in a double
  static constexpr uint64_t kMaxSteps = uint64_t{1} << 32;

  Round base_round;
  uint64_t samples = 0;
  float loss = 0;
  std::vector<float> lr;            // per parameter group
  std::vector<float> weight_decay;  // per parameter group
  uint64_t steps = 1;               // of the job since its last contribution
  friend bool operator==(const ContributionInfo&, const ContributionInfo&) = default;
};

struct Contributor {
  GroupId group;
  Incarnation incarnation;
  uint64_t samples = 0;
  float loss = 0;
  friend bool operator==(const Contributor&, const Contributor&) = default;
};

// A process that speaks for a group.
struct Member {
  GroupId group;
  Incarnation incarnation;
  friend bool operator==(const Member&, const Member&) = default;
};

struct ParameterGroupScalars {
  float lr = 0;
  float decay = 1;  // 1 - lr * weight_decay
  friend bool operator==(const ParameterGroupScalars&, const ParameterGroupScalars&) = default;
};

// One bucket of one round, merged. Without contributors it changes nothing.
struct UpdateHeader {
  Sequence sequence;
  Round round;
  BucketIndex bucket;
  std::vector<Contributor> contributors;  // ascending group id
  std::vector<ParameterGroupScalars> scalars;
  float bias1 = 1;
  float bias2_sqrt = 1;
  bool first = false;                  // the bucket's first commit with a contributor
  RunTotals totals;                    // of the run, this round included; of bucket 0 only
  std::optional<FormatChange> change;  // of coming rounds (P30); of bucket 0 only
  friend bool operator==(const UpdateHeader&, const UpdateHeader&) = default;

  bool Lists(GroupId group, Incarnation incarnation) const {
    return std::any_of(contributors.begin(), contributors.end(), [&](const Contributor& c) {
      return c.group == group && c.incarnation == incarnation;
    });
  }
};

enum class AbstainReason : uint8_t {
  kNonFinite = 1,
  kSkipped = 2,
  kRefused = 3,  // the coordinator would not take the contribution
};

// Protocol versions that this build speaks, inclusive (P28). 2: windows and acknowledgements on
// request, what a joiner holds, refused contributions, formats per group. 3: more of a snapshot
// before it is known what the joiner holds. 4: formats that change from round to round.
struct VersionRange {
  uint32_t min = 3;
  uint32_t max = 4;
};
inline constexpr VersionRange kProtocolVersions;
inline constexpr uint32_t kChangesFormats = 4;  // the first version that does

// Bytes of payload in one frame of a stream (P24), and the most a peer may send in one message.
inline constexpr uint64_t kFrameBytes = 64 << 10;

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_UPDATE_H_
