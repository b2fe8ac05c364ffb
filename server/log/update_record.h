// A committed update as the log holds it.
#ifndef ISTHMUS_SERVER_LOG_UPDATE_RECORD_H_
#define ISTHMUS_SERVER_LOG_UPDATE_RECORD_H_

#include <absl/time/time.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"

namespace isthmus {

// A serialized isthmus.v1.Update in pieces: a message may be cut between its fields, and a
// contributor is not sent its own contribution. Immutable once in the log.
struct UpdateRecord {
  struct Contribution {
    GroupId group;
    Incarnation incarnation;
    std::string bytes;
  };
  std::string bytes;                        // all but the contributions
  std::vector<Contribution> contributions;  // in the contributors' order; often none
  // Per contributor: how long it waited for the others (P26). Not part of the update.
  std::vector<std::pair<GroupId, absl::Duration>> waited;

  // Bytes of all of it.
  uint64_t TotalBytes() const;
  // Bytes that this process of the group is to be sent, and a copy of `size` of them from `offset`
  // on, which are there.
  uint64_t BytesFor(GroupId group, Incarnation incarnation) const;
  std::string CopyFor(GroupId group, Incarnation incarnation, uint64_t offset, uint64_t size) const;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_LOG_UPDATE_RECORD_H_
