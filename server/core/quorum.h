// When a bucket of a round may be committed, and the reason in words when it may not.
#ifndef ISTHMUS_SERVER_CORE_QUORUM_H_
#define ISTHMUS_SERVER_CORE_QUORUM_H_

#include <cstdint>
#include <span>
#include <string>

#include "common/base/ids.h"

namespace isthmus {

// How a bucket stands, in numbers of groups.
struct BucketTally {
  uint32_t complete = 0;         // with a complete contribution
  uint32_t abstained = 0;        // that said they send nothing
  uint32_t pending = 0;          // awaited, that have done neither
  bool deadline_passed = false;  // for all that are pending
};

// True when every awaited group has answered, or some have contributed and the deadline has passed;
// never with fewer than `min_groups` answers, and never with no answer at all. An Abstain is an
// answer: a group that sends NaN must not stop the others for ever. Asked for every contribution:
// takes no time that grows with the number of groups.
bool MayCommit(const BucketTally& tally, uint32_t min_groups);

// A group that has not answered, and what keeps it, in words; empty: nobody knows.
struct Straggler {
  GroupId group;
  std::string phase;
};

// Why not, in words; `pending` are those that the tally counts. Empty if it may.
std::string WaitingFor(const BucketTally& tally, std::span<const Straggler> pending,
                       uint32_t min_groups);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_QUORUM_H_
