// The arithmetic of one rank on its GPU.
#ifndef ISTHMUS_WORKER_STEP_GPU_RANK_H_
#define ISTHMUS_WORKER_STEP_GPU_RANK_H_

#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "common/collectives/device_communicator.h"
#include "common/device/growing_memory.h"
#include "common/gpu/update_image.h"
#include "worker/step/gpu_job_transfer.h"
#include "worker/step/gpu_rank_memory.h"
#include "worker/step/gpu_ranks.h"
#include "worker/step/rank_state.h"

namespace isthmus {

class GpuRank : public RankState {
 public:
  // `layout`, `buckets` and `communicator` outlive it; a job knows it as `job_rank`. Errors: as
  // GpuRankMemory::Create(); what the device says.
  static absl::StatusOr<std::unique_ptr<GpuRank>> Create(const RunSpec& run, const Layout& layout,
                                                         const Buckets& buckets,
                                                         const GpuRankPlace& place,
                                                         uint32_t job_rank,
                                                         DeviceCommunicator* communicator);
  ~GpuRank() override;  // waits for what is queued

  absl::StatusOr<bool> Reduce(JobSession& job, BucketIndex bucket) override;
  absl::Status Gather(JobSession& job, BucketIndex bucket) override;
  absl::Status Adopt(JobSession& job) override;
  absl::Status Barrier() override { return communicator_->Barrier(); }
  absl::Status Accumulate(BucketIndex bucket, float lr) override;
  absl::Status Extract(Round round, BucketIndex bucket, float lr, Extracted done) override;
  absl::Status Finish() override;
  absl::Status Complete() override;
  absl::Status Apply(const UpdateHeader& header, const UpdateView& update) override;
  void Settle(Round round, BucketIndex bucket, Credit credit) override;
  absl::Status ClearGradients(JobSession& job) override;
  absl::Status ReleaseJob() override { return transfer_.Release(); }
  absl::Status Save(std::span<std::byte> image) override;
  absl::Status Load(std::span<const std::byte> image, bool reset_momentum,
                    std::span<const Round> applied_rounds) override;
  absl::StatusOr<uint64_t> Hash(BucketIndex bucket) override;
  absl::Status FlipBit() override;

 private:
  using Key = std::pair<Round, BucketIndex>;
  // What was taken for a contribution, as kernels left it.
  struct Taken {
    DeviceMemory records, presence, exact;
  };
  // An extraction that is on its way to the host.
  struct Pending {
    PayloadPlace place;
    std::shared_ptr<DeviceEvent> copied;
    size_t slot = 0;
    Extracted done;
  };
  // What is made before anything is computed.
  struct Parts {
    std::unique_ptr<DeviceStream> loading, stream;
    GpuRankMemory memory;
    DeviceMemory word, pinned_word;
    DeviceMemory outgoing[2];
  };
  static constexpr size_t kSlots = 2;

  GpuRank(const RunSpec& run, const Layout& layout, const Buckets& buckets,
          const GpuRankPlace& place, uint32_t job_rank, DeviceCommunicator* communicator,
          Parts parts);

  PayloadPlace PlaceOf(Round round, BucketIndex bucket) const {
    const Extent extent = part(bucket);
    return {round.value(), extent.begin / run_.chunk_size, extent.size() / run_.chunk_size};
  }
  // Of all ranks, relative to the bucket.
  std::vector<uint64_t> PartsOf(BucketIndex bucket) const;
  // Runs that exchange all or nothing keep no momentum.
  bool keeps_momentum() const {
    return run_.scheme != Scheme::kFull && run_.scheme != Scheme::kNone;
  }
  float alpha() const { return keeps_momentum() ? run_.alpha : 1.0f; }
  float decay() const { return keeps_momentum() ? run_.decay : 1.0f; }
  ExtractParams ParamsFor(BucketIndex bucket, float lr) const;
  absl::StatusOr<Taken> TakeRoom(BucketIndex bucket);
  absl::StatusOr<Taken> MakeRoom(BucketIndex bucket);
  absl::Status Deliver();
  // The gradient may be written again after what is queued by now.
  void GradientUsed();
  // Waits for all that is queued, watched.
  absl::Status Synchronize() { return communicator_->Synchronize(*stream_); }

  const RunSpec run_;
  const UpdateFormat merged_;
  const Layout& layout_;
  const std::shared_ptr<Device> device_;
  const std::shared_ptr<const GpuKernels> kernels_;
  DeviceCommunicator* const communicator_;
  const GpuRankMemory memory_;
  const DeviceMemory word_, pinned_word_;  // of 8 bytes: what a kernel answers
  const DeviceMemory outgoing_[kSlots];    // pinned: records and presence
  GrowingMemory image_, pinned_image_;     // of an update
  std::shared_ptr<DeviceEvent> image_copied_;
  GpuJobTransfer::Mean gradient_;  // of the last Reduce()

  std::map<Key, Taken> taken_;  // bounded by the rounds that are open
  std::map<BucketIndex, std::vector<Taken>> free_;
  std::deque<Pending> pending_;
  UpdateImage update_image_;
  const std::unique_ptr<DeviceStream> loading_;  // gradients come in
  const std::unique_ptr<DeviceStream> stream_;   // all the rest
  GpuJobTransfer transfer_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_RANK_H_
