// Between a job's buffers, the host's or the device's own, of either type, and the floats of a rank
// on its GPU: the mean of the gradients comes in, or of how far the jobs have gone; the masters go
// out to everyone.
#ifndef ISTHMUS_WORKER_STEP_GPU_JOB_TRANSFER_H_
#define ISTHMUS_WORKER_STEP_GPU_JOB_TRANSFER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/collectives/device_communicator.h"
#include "common/device/device.h"
#include "common/device/growing_memory.h"
#include "common/gpu/gpu_kernels.h"
#include "common/tensor/partition.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// Single-threaded. Takes device memory of a few buckets: for what the job holds in another place or
// type than the arithmetic needs.
class GpuJobTransfer {
 public:
  // All outlive it. What comes in is queued on `loading`, what goes out on `stream`. The job knows
  // the rank as `job_rank`: it counts those of its machine. No bucket, and nothing that this rank
  // owns of one, has more elements than the longest.
  GpuJobTransfer(uint32_t job_rank, uint64_t longest_bucket, uint64_t longest_owned, Device& device,
                 const GpuKernels& kernels, DeviceCommunicator& communicator, DeviceStream& loading,
                 DeviceStream& stream)
      : job_rank_(job_rank),
        longest_bucket_(longest_bucket),
        longest_owned_(longest_owned),
        device_(device),
        kernels_(kernels),
        communicator_(communicator),
        loading_(loading),
        stream_(stream) {}

  // `owners`: of `bucket`; what a rank owns of it is packed.
  //
  // What this rank owns of the mean over ranks of the job's gradients of `bucket`, queued on
  // `loading`. It will be in the memory of the return value, which is the job's own where nothing
  // has to be done, else one of two in turn: until the call after next, and `used` if the caller
  // has recorded that.
  // Blocks until the job's own work on them is done; the job may go first, and then they are not
  // whole.
  struct Mean {
    bool whole = true;
    const float* data = nullptr;
    std::shared_ptr<DeviceEvent>* used = nullptr;
    // Of the device's memory: not whole either unless this is `expected`, once they have been read.
    const uint32_t* mark = nullptr;
    uint32_t expected = 0;
    // That has been looked at, and whether the mean is usable, where ReduceProgress() could.
    bool checked = false;
  };
  absl::StatusOr<Mean> ReduceMean(JobSession& job, const Extent& bucket, const Partition& owners);

  // The same of their progress (docs/protocol.md, P29), never in the job's memory.
  struct Progress {
    const float* given = nullptr;  // what the buffers were given of what this rank owns
    float weight = 1;              // this rank's
    // A word of the device's, 0: becomes 1 where a rank that is alone finds its mean unusable, or
    // the mark missing.
    uint32_t* unusable = nullptr;
  };
  absl::StatusOr<Mean> ReduceProgress(JobSession& job, const Extent& bucket,
                                      const Partition& owners, const Progress& progress);
  // What that read of the job's buffers, and has read by now, is copied to `kept`, of a device.
  // Queued on `stream`, which `loading` must follow before it takes in more; of the device's memory
  // told by the job's event.
  void KeepWhereTaken(JobSession& job, const Extent& bucket, const Elements& kept);

  // All ranks' masters of `bucket`, of which `masters` are this one's, become the job's parameters.
  // Of the host's memory: blocks until they are there; of the device's: queued, and
  // told by the job's event.
  absl::Status Gather(const float* masters, JobSession& job, const Extent& bucket,
                      const Partition& owners);
  // The same, and the way added that the job has gone since its buffers held `then`, of a device.
  absl::Status GatherWithWay(const float* masters, const Elements& then, JobSession& job,
                             const Extent& bucket, const Partition& owners);

  // `masters`, this rank's of `bucket`, become what the group's rank 0 has in its job's parameters
  // there. Blocks.
  absl::Status Adopt(JobSession& job, const Extent& bucket, const Partition& owners,
                     float* masters);

  // Queued, for the device's memory.
  absl::Status ClearGradients(JobSession& job);

  // Nothing that is queued uses a job's memory after this. Blocks.
  absl::Status Release();

 private:
  struct Slot {
    GrowingMemory memory;
    std::shared_ptr<DeviceEvent> used;
  };
  uint32_t rank() const { return communicator_.rank(); }
  bool alone() const { return communicator_.size() == 1; }
  // The job's buffers are ready, or will never be; `data` is left to the caller.
  absl::StatusOr<Mean> BeginIntake(JobSession& job);
  // Nobody uses it by the time that what is queued on `loading_` from here on is done.
  Slot& NextSlot();
  // Memory for what goes out is there, and the job reads its parameters no more.
  absl::Status BeginGiving(JobSession& job);
  // `whole`, of the device, is what the job's parameters of `bucket` become.
  absl::Status Give(JobSession& job, const Extent& bucket, const void* whole);
  // Device memory of the job that queued work needs: kept until Release(), or another job comes.
  absl::Status Hold(JobSession& job);
  // All memory that buckets of such a job ever need, at once and with nothing under way: allocating
  // may wait for a collective, and hold up those that this one waits for.
  absl::Status Prepare(JobSession& job);
  // Waits for what the job had queued when it handed over, unless it is gone; true if it was done.
  // Not left to a stream: the work of a process that has died may never be.
  bool AwaitJob(JobSession& job) const;

  const uint32_t job_rank_;
  const uint64_t longest_bucket_;
  const uint64_t longest_owned_;
  Device& device_;
  const GpuKernels& kernels_;
  DeviceCommunicator& communicator_;
  DeviceStream& loading_;
  DeviceStream& stream_;
  Slot slots_[2];
  size_t slot_ = 0;
  GrowingMemory incoming_;  // a bucket as the job holds it
  GrowingMemory wide_;      // the same as floats, or all ranks' masters
  GrowingMemory outgoing_;  // a bucket as the job holds it
  GrowingMemory narrow_;    // what is owned of a bucket, in the job's type
  std::shared_ptr<JobSession> held_;
  std::optional<std::pair<JobTerms, DType>> prepared_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_JOB_TRANSFER_H_
