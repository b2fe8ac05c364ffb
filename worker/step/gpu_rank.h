// The arithmetic of one rank on its GPU.
#ifndef ISTHMUS_WORKER_STEP_GPU_RANK_H_
#define ISTHMUS_WORKER_STEP_GPU_RANK_H_

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "common/collectives/device_communicator.h"
#include "common/device/growing_memory.h"
#include "common/gpu/update_image.h"
#include "worker/replication/in_flight.h"
#include "worker/step/gpu_job_transfer.h"
#include "worker/step/gpu_rank_memory.h"
#include "worker/step/gpu_ranks.h"
#include "worker/step/job_progress.h"
#include "worker/step/rank_state.h"

namespace isthmus {

class GpuRank : public RankState {
 public:
  // `layout`, `ownership` and `communicator` outlive it; a job knows it as `job_rank`. Errors: as
  // GpuRankMemory::Create(); what the device says.
  static absl::StatusOr<std::unique_ptr<GpuRank>> Create(const RunSpec& run, const Layout& layout,
                                                         const Ownership& ownership,
                                                         const GpuRankPlace& place, GroupId group,
                                                         uint32_t job_rank,
                                                         DeviceCommunicator* communicator);
  ~GpuRank() override;  // waits for what is queued

  absl::StatusOr<bool> Reduce(JobSession& job, BucketIndex bucket, float weight) override;
  absl::Status Gather(JobSession& job, BucketIndex bucket, Gathering how) override;
  absl::Status Adopt(JobSession& job) override;
  absl::Status Barrier() override { return communicator_->Barrier(); }
  void ChangeFormat(const FormatChange& change) override { formats_.Change(change); }
  absl::Status Accumulate(Round round, BucketIndex bucket, float lr) override;
  absl::Status Extract(Round round, BucketIndex bucket, float lr, Extracted done) override;
  absl::Status Finish() override;
  absl::Status Complete() override;
  void JobGoesOn(JobSession& job, BucketIndex bucket) override;
  void JobStaysBehind(BucketIndex bucket) override;
  absl::Status Apply(const UpdateHeader& header, const UpdateView& update) override;
  void Settle(Round round, BucketIndex bucket, Credit credit) override;
  absl::Status ClearGradients(JobSession& job) override;
  absl::Status ReleaseJob() override;
  absl::Status Save(std::span<std::byte> image) override;
  absl::Status Load(std::span<const std::byte> image, bool reset_momentum,
                    std::span<const Round> applied_rounds) override;
  absl::StatusOr<uint64_t> Hash(BucketIndex bucket) override;

 private:
  // What was taken of one run for a contribution, as kernels left it.
  struct Taken {
    PayloadFormat format;
    DeviceMemory records, presence, exact;
    // As it was sent, where contributions are not uniform: the host merges then.
    std::shared_ptr<const std::string> payload;
  };
  // An extraction that is on its way to the host.
  struct Pending {
    BucketIndex bucket;
    size_t run = 0;  // of the bucket's
    PayloadPlace place;
    std::shared_ptr<DeviceEvent> copied;
    size_t slot = 0;
    Extracted done;
  };
  // What is made before anything is computed.
  struct Resources {
    std::unique_ptr<DeviceStream> loading, stream;
    GpuRankMemory memory;
    DeviceMemory word, pinned_word;
  };
  static constexpr size_t kSlots = 2;

  GpuRank(const RunSpec& run, const Layout& layout, const Ownership& ownership,
          const GpuRankPlace& place, GroupId group, uint32_t job_rank,
          DeviceCommunicator* communicator, Resources made);

  PayloadPlace PlaceOf(Round round, const Shard::Run& run) const {
    const ChunkRun chunks = formats_.ChunksAt(round, run.extent);
    return {round.value(), chunks};
  }
  float* MastersOf(BucketIndex bucket) const {
    return memory_.masters.as<float>() + shard_.start(bucket);
  }
  // This rank's of the mean of what the jobs have: gradients, or progress.
  absl::StatusOr<GpuJobTransfer::Mean> TakeIn(JobSession& job, BucketIndex bucket, float weight);
  // Makes what goes by the momentum's format: rooms, and where records come out.
  absl::Status MakeRooms();
  // The momentum becomes that of the round's format, if it is another: through the host, whose
  // transforms give the same bits. Nothing is in flight then that was made under the one before.
  absl::Status UseFormatOf(Round round);
  // How kernels read this group's contributions to the round, and an update of it.
  absl::StatusOr<RecordFormat> RecordsOf(Round round);
  // What the kernels do with one run, `i` of the shard's, of the bucket that was reduced last.
  ExtractParams ParamsFor(BucketIndex bucket, size_t i, float lr) const;
  absl::Status ExtractRun(Round round, BucketIndex bucket, size_t i, float lr,
                          const Extracted& done, std::vector<Taken>* taken);
  absl::StatusOr<Taken> TakeRoom(size_t i);
  absl::StatusOr<Taken> MakeRoom(size_t i);
  // What comes next is behind it on the stream.
  void GiveRooms(BucketIndex bucket, std::vector<Taken> taken);
  // What was taken of the bucket's `i`-th run. Errors: INTERNAL if it is not remembered.
  absl::StatusOr<const Taken*> Own(const UpdateHeader& header, size_t i);
  absl::Status ApplyRun(const UpdateHeader& header, const UpdateView& update, size_t i);
  // `own`: this group's contribution, if `update` needs it.
  absl::Status ApplyEncoded(const UpdateHeader& header, const UpdateView& update,
                            const Shard::Run& run, const PartRecords& own);
  absl::Status Deliver();
  // One run's share of an update whose contributions kernels cannot merge, merged here and encoded
  // anew, exactly. Blocks for this rank's own, if needed.
  absl::StatusOr<std::string> MergeOnHost(const UpdateHeader& header, const UpdateView& update,
                                          size_t i);
  // Calls f(packed vector, where it begins in an image, in elements) for masters and optimizer
  // state.
  template <typename F>
  void ForEachVector(F f) const;
  // The gradient may be written again after what is queued by now.
  void GradientUsed();
  // What is queued by now changes what progress is measured by, or still reads what came in.
  void ProgressMoved() {
    if (policy_.job_steps()) progress_moved_ = stream_->Record();
  }
  // Waits for all that is queued, watched.
  absl::Status Synchronize() { return communicator_->Synchronize(*stream_); }

  const GroupId group_;
  const ExchangePolicy policy_;
  RoundFormats formats_;
  const Layout& layout_;
  const std::shared_ptr<Device> device_;
  const std::shared_ptr<const GpuKernels> kernels_;
  DeviceCommunicator* const communicator_;
  GpuRankMemory memory_;
  GpuFormat other_format_;                 // of an update whose round took nothing in here
  const DeviceMemory word_, pinned_word_;  // of 8 bytes: what a kernel answers
  DeviceMemory outgoing_[kSlots];          // pinned: records and presence
  GrowingMemory image_, pinned_image_;     // of an update
  std::shared_ptr<DeviceEvent> image_copied_;
  GpuJobTransfer::Mean gradient_;  // of the last Reduce()
  GivenParameters<const float*> given_;
  WhereTaken taken_at_;  // of a run with overlap
  std::shared_ptr<DeviceEvent> progress_moved_;

  InFlight<std::vector<Taken>> taken_;    // one for each of the bucket's runs
  std::vector<std::vector<Taken>> free_;  // per run of the shard
  std::deque<Pending> pending_;
  UpdateImage update_image_;
  // What jobs have comes in. It may wait for the other stream, which never waits for it.
  const std::unique_ptr<DeviceStream> loading_;
  const std::unique_ptr<DeviceStream> stream_;  // all the rest
  GpuJobTransfer transfer_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_RANK_H_
