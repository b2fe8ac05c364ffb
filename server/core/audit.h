// What groups report of their state after a round, and who is right (docs/protocol.md, P22).
#ifndef ISTHMUS_SERVER_CORE_AUDIT_H_
#define ISTHMUS_SERVER_CORE_AUDIT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
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

inline constexpr size_t kMaxAudits = 4;  // remembered, so that late reports are judged too

// What is known of an audited round but for the reports, which are sent again after a reconnect.
struct AuditRecord {
  Sequence sequence;                        // of the round's last update
  std::map<GroupId, Incarnation> expected;  // who should report
  bool decided = false;
  BucketHashes right;     // once decided; empty if nobody reported
  bool compared = false;  // two reports or more, and counted as such
  friend bool operator==(const AuditRecord&, const AuditRecord&) = default;
};

// One audited round. Single-threaded.
class Audit {
 public:
  struct Report {
    Incarnation incarnation;
    BucketHashes hashes;
  };

  Audit() = default;
  // Nobody has reported yet.
  explicit Audit(AuditRecord record) : record_(std::move(record)) {}

  const AuditRecord& record() const { return record_; }
  Sequence sequence() const { return record_.sequence; }
  const std::map<GroupId, Incarnation>& expected() const { return record_.expected; }
  const std::map<GroupId, Report>& reports() const { return reports_; }
  std::map<GroupId, BucketHashes> hashes() const;

  // In place of that of an older process of the group.
  void Add(GroupId group, Incarnation incarnation, const BucketHashes& hashes) {
    reports_[group] = Report{incarnation, hashes};
  }
  // What `group` holds, or said, is no longer of interest.
  void Forget(GroupId group) {
    reports_.erase(group);
    record_.expected.erase(group);
  }

  bool decided() const { return record_.decided; }
  const BucketHashes& right() const { return record_.right; }
  void Decide(BucketHashes right) {
    record_.decided = true;
    record_.right = std::move(right);
  }
  // True the first time that there are two reports to compare.
  bool Compares() {
    if (record_.compared || reports_.size() < 2) return false;
    return record_.compared = true;
  }

 private:
  AuditRecord record_;
  std::map<GroupId, Report> reports_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_AUDIT_H_
