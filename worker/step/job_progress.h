// What a job with an optimizer of its own was last given, to tell how far it has gone since
// (common/compression/intake.h), and where it was when that was told, to keep what it did after
// (docs/protocol.md, P29). Which of it is kept is decided here, for ranks of any kind.
#ifndef ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_
#define ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "common/base/check.h"
#include "common/base/ids.h"
#include "common/tensor/elements.h"
#include "common/tensor/extent.h"
#include "worker/core/worker_core.h"

namespace isthmus {

// What a job's buffers were given of a shard. As a rule that is what the masters are; a copy is
// kept where masters have moved on since, while the job was not in a step. `Copy` is what a kind of
// rank has of one. Single-threaded: the rank's.
template <typename Copy>
class GivenParameters {
 public:
  // The job's buffers now hold the masters of `bucket`.
  void Gave(BucketIndex bucket) {
    job_ = true;
    behind_.erase(bucket);
  }
  // The shard's masters of `bucket` are about to change, and the job's buffers are not: keep() is a
  // copy of them, called if one is wanted.
  template <typename Keep>
  void StaysBehind(BucketIndex bucket, const Keep& keep) {
    if (job_ && !behind_.contains(bucket)) behind_.emplace(bucket, keep());
  }
  // The job is gone: what it did since is lost (P23).
  void Release() {
    job_ = false;
    behind_.clear();
  }
  // Null: what the shard's masters of `bucket` are now.
  const Copy* Kept(BucketIndex bucket) const {
    const auto at = behind_.find(bucket);
    return at == behind_.end() ? nullptr : &at->second;
  }

 private:
  bool job_ = false;  // there is one whose buffers were given something
  std::map<BucketIndex, Copy> behind_;
};

// What a rank's buffers held where its way was taken in, of each bucket whose job has gone on since
// (P29, overlap). Single-threaded: the rank's.
class WhereTaken {
 public:
  WhereTaken() = default;  // of a run without overlap
  // `memory`, which outlives it, is as long as the buffers and of their type, the host's or a
  // device's.
  WhereTaken(const Elements& memory, uint32_t buckets) : memory_(memory), kept_(buckets) {}

  // Where what the buffers hold of `bucket`, which is `extent`, is to be copied to now.
  Elements Keep(BucketIndex bucket, const Extent& extent) {
    ISTHMUS_CHECK(bucket.value() < kept_.size());
    kept_[bucket.value()] = true;
    return Of(extent);
  }
  // Nothing kept: none.
  bool Has(BucketIndex bucket) const {
    return bucket.value() < kept_.size() && kept_[bucket.value()];
  }
  Elements Of(const Extent& extent) const { return memory_.subspan(extent.begin, extent.size()); }
  void Forget(BucketIndex bucket) {
    if (Has(bucket)) kept_[bucket.value()] = false;
  }
  void Clear() { kept_.assign(kept_.size(), false); }

 private:
  Elements memory_;
  std::vector<bool> kept_;
};

// The job's buffers are about to be given the masters of `bucket`. True if the way that it has gone
// since where `taken_at` says is to be added to them.
template <typename Copy>
bool GiveWithWay(BucketIndex bucket, Gathering how, GivenParameters<Copy>& given,
                 WhereTaken& taken_at) {
  const bool went_on = how == Gathering::kWithWay && taken_at.Has(bucket);
  if (how != Gathering::kShow) {
    given.Gave(bucket);
    taken_at.Forget(bucket);
  }
  return went_on;
}

// now <- anchor + (now - then), in float32, rounded as the job holds it. All of one length, and of
// the host's memory.
void AddWaySince(std::span<const float> anchor, const Elements& then, const Elements& now);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_
