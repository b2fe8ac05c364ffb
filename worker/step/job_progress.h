// What a job with an optimizer of its own was last given, to tell how far it has gone since
// (common/compression/intake.h), and where it was when that was told, to keep what it did after
// (docs/protocol.md, P29).
#ifndef ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_
#define ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/tensor/elements.h"

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

// What a rank's buffers held where its way was taken in, of each bucket whose job has gone on since
// (P29, overlap). Single-threaded: the rank's.
class WhereTaken {
 public:
  WhereTaken() = default;
  // For buffers of `length` elements. Throws std::bad_alloc.
  WhereTaken(DType type, uint64_t length, uint32_t buckets)
      : type_(type), bytes_(length * SizeOf(type)), kept_(buckets) {}

  // `now` is what the buffers hold of `bucket`, which begins at `begin`.
  void Keep(BucketIndex bucket, uint64_t begin, const Elements& now);
  // Nothing kept: none.
  bool Has(BucketIndex bucket) const {
    return bucket.value() < kept_.size() && kept_[bucket.value()];
  }
  Elements Of(uint64_t begin, uint64_t size) {
    return Elements(type_, bytes_.data(), bytes_.size() / SizeOf(type_)).subspan(begin, size);
  }
  void Forget(BucketIndex bucket) {
    if (Has(bucket)) kept_[bucket.value()] = false;
  }
  void Clear() { kept_.assign(kept_.size(), false); }

 private:
  DType type_ = DType::kFloat32;
  std::vector<std::byte> bytes_;
  std::vector<bool> kept_;
};

// now <- anchor + (now - then), in float32, rounded as the job holds it. All of one length.
void AddWaySince(std::span<const float> anchor, const Elements& then, const Elements& now);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_JOB_PROGRESS_H_
