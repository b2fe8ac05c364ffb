// What a job with an optimizer of its own was last given, to tell how far it has gone since
// (common/compression/intake.h; docs/protocol.md, P29).
#ifndef ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_
#define ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "common/base/ids.h"

namespace isthmus {

// What a job's buffers were given of a shard. As a rule that is what the masters are; a copy is
// kept where masters have moved on since, while the job was not in a step. Single-threaded: the
// rank's.
class GivenParameters {
 public:
  // The job's buffers now hold the masters of `bucket`.
  void Gave(BucketIndex bucket) {
    job_ = true;
    behind_.erase(bucket);
  }
  // `masters`, the shard's of `bucket`, are about to change, and the job's buffers are not.
  void StaysBehind(BucketIndex bucket, std::span<const float> masters) {
    if (job_) behind_.try_emplace(bucket, masters.begin(), masters.end());
  }
  // The job is gone: what it did since is lost (P23).
  void Release() {
    job_ = false;
    behind_.clear();
  }
  // Given the shard's masters of `bucket` as they are now.
  std::span<const float> of(BucketIndex bucket, std::span<const float> masters) const {
    const auto at = behind_.find(bucket);
    return at == behind_.end() ? masters : std::span<const float>(at->second);
  }

 private:
  bool job_ = false;  // there is one whose buffers were given something
  std::map<BucketIndex, std::vector<float>> behind_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_
