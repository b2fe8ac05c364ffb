#include "worker/replication/replicator.h"

#include "common/base/check.h"

namespace isthmus {

std::unique_ptr<Replicator> MakeReplicator(const RunSpec& run, const Buckets& buckets,
                                           const ReplicatorPlace& place) {
  switch (run.scheme) {
    case Scheme::kFlexDemo:
      return MakeDemoReplicator(run, buckets, place);
    case Scheme::kRandom:
    case Scheme::kStriding:
    case Scheme::kSlicing:
      return MakePositionsReplicator(run, buckets, place);
    case Scheme::kFull:
      return MakeFullReplicator(run, buckets, place);
    case Scheme::kNone:
      return MakeNoneReplicator(run, buckets, place);
  }
  ISTHMUS_CHECK(false);
  return nullptr;
}

}  // namespace isthmus
