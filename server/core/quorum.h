// When a bucket of a round may be committed, and the reason in words when it may not.
#ifndef ISTHMUS_SERVER_CORE_QUORUM_H_
#define ISTHMUS_SERVER_CORE_QUORUM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/ids.h"

namespace isthmus {

// How a bucket stands.
struct BucketTally {
  uint32_t complete = 0;         // groups with a complete contribution
  uint32_t abstained = 0;        // groups that said they send nothing
  std::vector<GroupId> pending;  // awaited groups that have done neither
  bool deadline_passed = false;  // since the first complete contribution
};

struct QuorumVerdict {
  bool commit = false;
  std::string waiting_for;  // in words, if not committed
};

// Commits when every awaited group has answered, or some have contributed and the deadline has
// passed; never with fewer than `min_groups` answers, and never with no answer at all. An Abstain
// is an answer: a group that sends NaN must not stop the others for ever.
QuorumVerdict DecideCommit(const BucketTally& tally, uint32_t min_groups);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_QUORUM_H_
