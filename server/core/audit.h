// What groups report of their state after a round, and who is right (docs/protocol.md, P22).
#ifndef ISTHMUS_SERVER_CORE_AUDIT_H_
#define ISTHMUS_SERVER_CORE_AUDIT_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"

namespace isthmus {

// One hash per bucket.
using BucketHashes = std::vector<uint64_t>;

// What all groups' state should be. Per bucket, the hash that most of `reports` have; where several
// have as many, the one of the lowest group id among them. Some group of `donors`, which must have
// reported, has to hold that state, so that others can get it from there: if none does, it is the
// state of the donor that differs in the fewest buckets, the lowest id first. Empty without
// reports; reports are equally long.
BucketHashes RightHashes(const std::map<GroupId, BucketHashes>& reports,
                         const std::set<GroupId>& donors);

// "2 of 4 buckets: bucket 0 expected 0000000000000001, got ...; bucket 3 ..."; the first few of
// them. `right` and `actual` are equally long and differ.
std::string DifferenceText(const BucketHashes& right, const BucketHashes& actual);

// One audited round. Single-threaded.
class Audit {
 public:
  struct Report {
    Incarnation incarnation;
    BucketHashes hashes;
  };

  Audit() = default;
  // `sequence` is that of the round's last update, `expected` who should report.
  Audit(Sequence sequence, std::map<GroupId, Incarnation> expected)
      : sequence_(sequence), expected_(std::move(expected)) {}

  Sequence sequence() const { return sequence_; }
  const std::map<GroupId, Incarnation>& expected() const { return expected_; }
  const std::map<GroupId, Report>& reports() const { return reports_; }
  std::map<GroupId, BucketHashes> hashes() const;

  // In place of that of an older process of the group.
  void Add(GroupId group, Incarnation incarnation, const BucketHashes& hashes) {
    reports_[group] = Report{incarnation, hashes};
  }
  // What `group` holds, or said, is no longer of interest.
  void Forget(GroupId group) {
    reports_.erase(group);
    expected_.erase(group);
  }

  bool decided() const { return decided_; }
  const BucketHashes& right() const { return right_; }  // once decided; empty if nobody reported
  void Decide(BucketHashes right) {
    decided_ = true;
    right_ = std::move(right);
  }

 private:
  Sequence sequence_;
  std::map<GroupId, Incarnation> expected_;
  std::map<GroupId, Report> reports_;
  bool decided_ = false;
  BucketHashes right_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_AUDIT_H_
