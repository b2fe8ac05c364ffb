// The recent updates, in memory, for those who are sent them now or resume later. The seam for the
// durable log: records are appended in sequence and read by sequence, and nothing is handed out
// that was not appended.
#ifndef ISTHMUS_SERVER_LOG_UPDATE_RING_H_
#define ISTHMUS_SERVER_LOG_UPDATE_RING_H_

#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/mutex.h"

namespace isthmus {

// A serialized isthmus.v1.Update in pieces: a message may be cut between its fields, and a
// contributor is not sent its own contribution. Immutable once in the ring.
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

// Holds at most `capacity_bytes` of records, but always the newest KeepAtLeast(), dropping the
// oldest.
// Thread-safe.
class UpdateRing {
 public:
  explicit UpdateRing(uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  // CHECKs that `sequence` follows the last one (the first is 1).
  void Append(Sequence sequence, std::shared_ptr<const UpdateRecord> record);
  // At first 1. One round's worth keeps every group that is awaited able to resume: it has applied
  // the round before, or it could not have answered.
  void KeepAtLeast(size_t records);
  // Null if it was dropped or is not there yet.
  std::shared_ptr<const UpdateRecord> Get(Sequence sequence) const;
  // The oldest sequence still held; the one after the last if none is.
  Sequence first_available() const;
  uint64_t bytes() const;

 private:
  const uint64_t capacity_bytes_;
  mutable Mutex mu_;
  std::deque<std::shared_ptr<const UpdateRecord>> records_ ABSL_GUARDED_BY(mu_);
  uint64_t first_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t keep_at_least_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_LOG_UPDATE_RING_H_
