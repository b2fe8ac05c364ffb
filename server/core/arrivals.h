// When contributions come, and so how long it makes sense to wait for one that does not (P9).
#ifndef ISTHMUS_SERVER_CORE_ARRIVALS_H_
#define ISTHMUS_SERVER_CORE_ARRIVALS_H_

#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <map>
#include <set>

#include "common/base/ids.h"

namespace isthmus {

// Over the last rounds. A bucket is waited for twice as long as anybody was ever behind the first
// there, and two rounds or five seconds more, so that who came before is waited for again; never
// longer than was asked for, and as long as that until everybody has been seen. Single-threaded.
class Arrivals {
 public:
  // Whose lags are remembered, and of which the median counts; and from how many of a group on that
  // is enough.
  static constexpr size_t kRounds = 1024;
  static constexpr size_t kLately = 64;
  static constexpr uint32_t kEnough = 8;
  static constexpr absl::Duration kSlack = absl::Seconds(5);

  // A round took so long, from its opening until all of it was in the log; those that answered all
  // of it came at most so far behind the first of a bucket.
  void RoundOver(absl::Duration took, const std::map<GroupId, absl::Duration>& lags);
  // Rounds are to be others: what has been seen is of no use any more.
  void Forget();
  // The group is not what it was, or was not there: it is to be seen anew.
  void Forget(GroupId group) { seen_.erase(group); }

  // How long to wait for `awaited`, `most` at most.
  absl::Duration Deadline(const std::set<GroupId>& awaited, absl::Duration most) const;

 private:
  struct Seen {
    absl::Duration took;
    absl::Duration lag;  // of the last to come
  };
  std::deque<Seen> rounds_;
  std::map<GroupId, uint32_t> seen_;  // rounds, of each group
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_ARRIVALS_H_
