// What a rank took for contributions that no update has decided yet (docs/protocol.md, P12).
#ifndef ISTHMUS_WORKER_REPLICATION_IN_FLIGHT_H_
#define ISTHMUS_WORKER_REPLICATION_IN_FLIGHT_H_

#include <map>
#include <span>
#include <utility>

#include "common/base/check.h"
#include "common/base/ids.h"

namespace isthmus {

// `Taken` is what a kind of rank remembers; it names the format it was made under. Bounded by the
// rounds that are open. Single-threaded.
template <typename Taken>
class InFlight {
 public:
  // CHECKs that nothing is remembered for (round, bucket) yet: it would be taken twice.
  Taken& Put(Round round, BucketIndex bucket, Taken taken) {
    const auto [at, inserted] = taken_.try_emplace({round, bucket}, std::move(taken));
    ISTHMUS_CHECK(inserted);
    return at->second;
  }
  // Null if there is none: nothing was taken, or it was forgotten with a snapshot.
  Taken* Find(Round round, BucketIndex bucket) {
    return const_cast<Taken*>(std::as_const(*this).Find(round, bucket));
  }
  const Taken* Find(Round round, BucketIndex bucket) const {
    const auto at = taken_.find({round, bucket});
    return at == taken_.end() ? nullptr : &at->second;
  }
  // Calls let_go(bucket, Taken) for what is remembered for (round, bucket), if anything.
  template <typename LetGo>
  void Settle(Round round, BucketIndex bucket, LetGo let_go) {
    auto node = taken_.extract({round, bucket});
    if (!node.empty()) let_go(std::move(node.mapped()));
  }
  // With a snapshot: what was taken up to the round that it holds, per bucket, or `all` of it.
  template <typename LetGo>
  void Forget(std::span<const Round> applied_rounds, bool all, LetGo let_go) {
    for (auto at = taken_.begin(); at != taken_.end();) {
      const auto [round, bucket] = at->first;
      if (!all && round > applied_rounds[bucket.value()]) {
        ++at;
        continue;
      }
      let_go(bucket, std::move(at->second));
      at = taken_.erase(at);
    }
  }

 private:
  std::map<std::pair<Round, BucketIndex>, Taken> taken_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_IN_FLIGHT_H_
