#include "worker/step/bit_flip.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/base/status_macros.h"
#include "common/optimizer/optimizer.h"

namespace isthmus {
namespace {

class FlippingRank : public RankState {
 public:
  FlippingRank(std::unique_ptr<RankState> rank, const Ownership& ownership, uint32_t index,
               const Layout& layout, size_t image_bytes, Round after)
      : RankState(ownership, index),
        rank_state_(std::move(rank)),
        layout_(layout),
        image_bytes_(image_bytes),
        after_(after) {}

  void ChangeFormat(const FormatChange& change) override { rank_state_->ChangeFormat(change); }
  absl::StatusOr<bool> Reduce(JobSession& job, BucketIndex bucket, float weight) override {
    return rank_state_->Reduce(job, bucket, weight);
  }
  absl::Status Gather(JobSession& job, BucketIndex bucket, Gathering how) override {
    return rank_state_->Gather(job, bucket, how);
  }
  absl::Status Adopt(JobSession& job) override { return rank_state_->Adopt(job); }
  absl::Status Barrier() override { return rank_state_->Barrier(); }
  absl::Status Accumulate(Round round, BucketIndex bucket, float lr) override {
    return rank_state_->Accumulate(round, bucket, lr);
  }
  absl::Status Extract(Round round, BucketIndex bucket, float lr, Extracted done) override {
    return rank_state_->Extract(round, bucket, lr, std::move(done));
  }
  absl::Status Finish() override { return rank_state_->Finish(); }
  absl::Status Complete() override { return rank_state_->Complete(); }
  void JobGoesOn(JobSession& job, BucketIndex bucket) override {
    rank_state_->JobGoesOn(job, bucket);
  }
  void JobStaysBehind(BucketIndex bucket) override { rank_state_->JobStaysBehind(bucket); }
  absl::Status Apply(const UpdateHeader& header, const UpdateView& update) override {
    if (header.round > after_ && !flipped_) ISTHMUS_RETURN_IF_ERROR(Flip());
    return rank_state_->Apply(header, update);
  }
  void Settle(Round round, BucketIndex bucket, Credit credit) override {
    rank_state_->Settle(round, bucket, credit);
  }
  absl::Status ClearGradients(JobSession& job) override { return rank_state_->ClearGradients(job); }
  absl::Status ReleaseJob() override { return rank_state_->ReleaseJob(); }
  absl::Status Save(std::span<std::byte> image) override { return rank_state_->Save(image); }
  absl::Status Load(std::span<const std::byte> image, bool reset_momentum,
                    std::span<const Round> applied_rounds) override {
    return rank_state_->Load(image, reset_momentum, applied_rounds);
  }
  absl::StatusOr<uint64_t> Hash(BucketIndex bucket) override { return rank_state_->Hash(bucket); }

 private:
  absl::Status Flip() {
    flipped_ = true;
    std::vector<std::byte> image(image_bytes_);
    ISTHMUS_RETURN_IF_ERROR(rank_state_->Save(image));
    const uint64_t index = LargestMaster(image);
    const float flipped =
        std::bit_cast<float>(std::bit_cast<uint32_t>(MasterAt(image, index)) ^ (uint32_t{1} << 22));
    std::memcpy(image.data() + index * sizeof(float), &flipped, sizeof(float));
    // Of no round: what is in flight stays.
    return rank_state_->Load(image, false, std::vector<Round>(buckets().count()));
  }

  static float MasterAt(std::span<const std::byte> image, uint64_t index) {
    float master;
    std::memcpy(&master, image.data() + index * sizeof(float), sizeof(float));
    return master;
  }

  // Among the shard's logical elements, of which there is one.
  uint64_t LargestMaster(std::span<const std::byte> image) const {
    uint64_t largest = 0;
    for (const Shard::Run& run : shard().runs()) {
      for (const Extent& logical : LogicalRuns(layout_, run.extent)) {
        for (uint64_t i = logical.begin; i < logical.end; ++i) {
          if (std::fabs(MasterAt(image, i)) > std::fabs(MasterAt(image, largest))) largest = i;
        }
      }
    }
    return largest;
  }

  const std::unique_ptr<RankState> rank_state_;
  const Layout& layout_;
  const size_t image_bytes_;  // of masters and optimizer state
  const Round after_;
  bool flipped_ = false;
};

class FlippingRanks : public LocalRanks {
 public:
  FlippingRanks(Round after, std::unique_ptr<LocalRanks> ranks)
      : after_(after), ranks_(std::move(ranks)) {}

  uint32_t count() const override { return ranks_->count(); }
  absl::StatusOr<std::string> Invite() override { return ranks_->Invite(); }
  void Abort(const absl::Status& reason) override { ranks_->Abort(reason); }

  absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                               const Layout& layout,
                                                               const Ownership& ownership,
                                                               const GroupPlace& place) override {
    ISTHMUS_ASSIGN_OR_RETURN(auto made, ranks_->Make(run, layout, ownership, place));
    const auto vectors = static_cast<size_t>(1 + OptimizerStateVectors(run.optimizer));
    for (uint32_t i = 0; i < made.size(); ++i) {
      const auto runs = made[i]->shard().runs();
      if (runs.empty() || runs[0].extent.begin != 0) continue;
      made[i] =
          std::make_unique<FlippingRank>(std::move(made[i]), ownership, place.first_rank + i,
                                         layout, vectors * layout.length() * sizeof(float), after_);
    }
    return made;
  }

 private:
  const Round after_;
  const std::unique_ptr<LocalRanks> ranks_;
};

}  // namespace

std::unique_ptr<LocalRanks> FlipBitAfter(Round round, std::unique_ptr<LocalRanks> ranks) {
  return std::make_unique<FlippingRanks>(round, std::move(ranks));
}

}  // namespace isthmus
