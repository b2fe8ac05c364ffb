#include "worker/step/gpu_job_transfer.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/intake.h"

namespace isthmus {

namespace {

bool IsOnDevice(const JobSession& job) { return job.memory() == JobMemory::kDevice; }

HeldNumbers HeldAt(void* data, DType type) { return {data, type == DType::kBFloat16}; }

}  // namespace

absl::StatusOr<GpuJobTransfer::Mean> GpuJobTransfer::BeginIntake(JobSession& job) {
  ISTHMUS_RETURN_IF_ERROR(Prepare(job));
  Mean mean;
  if (!IsOnDevice(job)) return mean;
  ISTHMUS_RETURN_IF_ERROR(Hold(job));
  mean.whole = AwaitJob(job);
  mean.mark = job.gradients_mark(job_rank_);
  mean.expected = job.steps();
  return mean;
}

GpuJobTransfer::Slot& GpuJobTransfer::NextSlot() {
  slot_ = 1 - slot_;
  Slot& slot = slots_[slot_];
  if (slot.used != nullptr) loading_.Wait(slot.used);
  return slot;
}

absl::StatusOr<GpuJobTransfer::Mean> GpuJobTransfer::ReduceMean(JobSession& job,
                                                                const Extent& bucket,
                                                                const Partition& owners) {
  const Elements gradients = job.gradients(job_rank_).subspan(bucket.begin, bucket.size());
  const bool floats = gradients.type() == DType::kFloat32;
  ISTHMUS_ASSIGN_OR_RETURN(Mean mean, BeginIntake(job));
  if (IsOnDevice(job) && floats && alone()) {
    mean.data = static_cast<const float*>(gradients.data());
    return mean;
  }
  Slot& slot = NextSlot();
  const void* at = gradients.data();
  if (!IsOnDevice(job)) {
    const bool there = floats && alone();
    void* const to = there ? slot.memory.data() : incoming_.data();
    loading_.CopyIn(to, gradients.data(), gradients.size_bytes());
    at = to;
  }
  if (!floats) {
    auto* const to = alone() ? slot.memory.as<float>() : wide_.as<float>();
    kernels_.Widen(
        loading_, {.from = static_cast<const uint16_t*>(at), .fours = bucket.size() / 4, .to = to});
    at = to;
  }
  if (!alone()) {
    ISTHMUS_RETURN_IF_ERROR(communicator_.ReduceScatterMean(loading_, static_cast<const float*>(at),
                                                            owners, slot.memory.as<float>()));
  }
  mean.data = slot.memory.as<float>();
  mean.used = &slot.used;
  return mean;
}

absl::StatusOr<GpuJobTransfer::Mean> GpuJobTransfer::ReduceProgress(JobSession& job,
                                                                    const Extent& bucket,
                                                                    const Partition& owners,
                                                                    const Progress& progress) {
  const Elements parameters = job.parameters(job_rank_).subspan(bucket.begin, bucket.size());
  ISTHMUS_ASSIGN_OR_RETURN(Mean mean, BeginIntake(job));
  Slot& slot = NextSlot();
  void* now = parameters.data();
  if (!IsOnDevice(job)) {
    now = incoming_.data();
    loading_.CopyIn(now, parameters.data(), parameters.size_bytes());
  }
  ProgressKernel kernel{.given = progress.given,
                        .now = HeldAt(now, parameters.type()),
                        .fours = bucket.size() / 4,
                        .weight = progress.weight,
                        .progress = slot.memory.as<float>(),
                        .most = kMaxGradient};
  if (alone()) {  // whose progress is the mean
    kernel.unusable = progress.unusable;
    kernel.mark = mean.mark;
    kernel.expected = mean.expected;
    mean.checked = true;
    kernels_.TakeProgress(loading_, kernel);
  } else {
    ISTHMUS_RETURN_IF_ERROR(
        communicator_.AllGather(loading_, progress.given, owners, sizeof(float), wide_.data()));
    kernel.given = kernel.progress = wide_.as<float>();
    kernels_.TakeProgress(loading_, kernel);
    ISTHMUS_RETURN_IF_ERROR(communicator_.ReduceScatterMean(loading_, kernel.progress, owners,
                                                            slot.memory.as<float>()));
  }
  mean.data = slot.memory.as<float>();
  mean.used = &slot.used;
  return mean;
}

void GpuJobTransfer::KeepWhereTaken(JobSession& job, const Extent& bucket, const Elements& kept) {
  const Elements now = job.parameters(job_rank_).subspan(bucket.begin, bucket.size());
  ISTHMUS_CHECK(kept.type() == now.type() && kept.size() == now.size());
  stream_.Copy(kept.data(), IsOnDevice(job) ? now.data() : incoming_.data(), now.size_bytes());
  if (IsOnDevice(job)) job.parameters_ready(job_rank_).Record(stream_);
}

absl::Status GpuJobTransfer::BeginGiving(JobSession& job) {
  ISTHMUS_RETURN_IF_ERROR(Prepare(job));
  if (!IsOnDevice(job)) return absl::OkStatus();
  ISTHMUS_RETURN_IF_ERROR(Hold(job));
  AwaitJob(job);  // until then it may read its parameters
  return absl::OkStatus();
}

absl::Status GpuJobTransfer::Give(JobSession& job, const Extent& bucket, const void* whole) {
  if (IsOnDevice(job)) {
    job.parameters_ready(job_rank_).Record(stream_);
    return absl::OkStatus();
  }
  const Elements parameters = job.parameters(job_rank_).subspan(bucket.begin, bucket.size());
  // (A copy to memory that is not pinned blocks, unwatched: only once the collective is over.)
  ISTHMUS_RETURN_IF_ERROR(communicator_.Synchronize(stream_));
  stream_.CopyOut(parameters.data(), whole, parameters.size_bytes());
  return communicator_.Synchronize(stream_);
}

absl::Status GpuJobTransfer::Gather(const float* masters, JobSession& job, const Extent& bucket,
                                    const Partition& owners) {
  const Elements parameters = job.parameters(job_rank_).subspan(bucket.begin, bucket.size());
  const bool on_device = IsOnDevice(job);
  const size_t element_bytes = SizeOf(parameters.type());
  const uint64_t owned = owners.size(rank());
  ISTHMUS_RETURN_IF_ERROR(BeginGiving(job));

  // Where the whole is made: in place, or on its way to the host.
  void* whole = on_device ? parameters.data() : outgoing_.data();
  const void* mine = masters;
  if (parameters.type() == DType::kBFloat16) {
    auto* const to = static_cast<uint16_t*>(alone() ? whole : narrow_.data());
    if (owned > 0) kernels_.Narrow(stream_, {.from = masters, .fours = owned / 4, .to = to});
    mine = to;
  } else if (alone() && !on_device) {
    whole = const_cast<float*>(masters);  // no need to go anywhere else first
  } else if (alone()) {
    stream_.Copy(whole, masters, owned * element_bytes);
  }
  if (!alone()) {
    ISTHMUS_RETURN_IF_ERROR(communicator_.AllGather(stream_, mine, owners, element_bytes, whole));
  }
  return Give(job, bucket, whole);
}

absl::Status GpuJobTransfer::GatherWithWay(const float* masters, const Elements& then,
                                           JobSession& job, const Extent& bucket,
                                           const Partition& owners) {
  const Elements parameters = job.parameters(job_rank_).subspan(bucket.begin, bucket.size());
  ISTHMUS_RETURN_IF_ERROR(BeginGiving(job));
  void* now = parameters.data();
  if (!IsOnDevice(job)) {
    now = outgoing_.data();
    stream_.CopyIn(now, parameters.data(), parameters.size_bytes());
  }
  const float* anchor = masters;
  if (!alone()) {
    anchor = wide_.as<float>();
    ISTHMUS_RETURN_IF_ERROR(
        communicator_.AllGather(stream_, masters, owners, sizeof(float), wide_.data()));
  }
  kernels_.AddWay(stream_, {.anchor = anchor,
                            .then = HeldAt(then.data(), then.type()),
                            .now = HeldAt(now, parameters.type()),
                            .fours = bucket.size() / 4});
  return Give(job, bucket, now);
}

absl::Status GpuJobTransfer::Adopt(JobSession& job, const Extent& bucket, const Partition& owners,
                                   float* masters) {
  const Elements whole = job.parameters(job_rank_).subspan(bucket.begin, bucket.size());
  const size_t element_bytes = SizeOf(whole.type());
  ISTHMUS_RETURN_IF_ERROR(Prepare(job));
  if (rank() == 0) {
    if (IsOnDevice(job)) {
      stream_.Copy(incoming_.data(), whole.data(), whole.size_bytes());
    } else {
      stream_.CopyIn(incoming_.data(), whole.data(), whole.size_bytes());
    }
  }
  if (!alone()) {
    // A broadcast: rank 0 has all of it.
    ISTHMUS_RETURN_IF_ERROR(communicator_.AllGather(
        stream_, incoming_.data(), Partition::AllOf(0, communicator_.size(), bucket.size()),
        element_bytes, incoming_.data()));
  }
  for (const Extent& extent : owners.extents(rank())) {
    const std::byte* const mine = incoming_.as<std::byte>() + extent.begin * element_bytes;
    if (whole.type() == DType::kBFloat16) {
      kernels_.Widen(stream_, {.from = reinterpret_cast<const uint16_t*>(mine),
                               .fours = extent.size() / 4,
                               .to = masters});
    } else {
      stream_.Copy(masters, mine, extent.size() * element_bytes);
    }
    masters += extent.size();
  }
  return communicator_.Synchronize(stream_);
}

absl::Status GpuJobTransfer::ClearGradients(JobSession& job) {
  const Elements gradients = job.gradients(job_rank_);
  if (job.memory() == JobMemory::kHost) {
    std::fill_n(static_cast<std::byte*>(gradients.data()), gradients.size_bytes(), std::byte{0});
    return absl::OkStatus();
  }
  ISTHMUS_RETURN_IF_ERROR(Hold(job));
  AwaitJob(job);
  if (gradients.size() > 0) stream_.Zero(gradients.data(), gradients.size_bytes());
  job.parameters_ready(job_rank_).Record(stream_);
  return absl::OkStatus();
}

absl::Status GpuJobTransfer::Release() {
  if (held_ == nullptr) return absl::OkStatus();
  const absl::Status status = communicator_.Synchronize(stream_);
  held_ = nullptr;
  return status;
}

bool GpuJobTransfer::AwaitJob(JobSession& job) const {
  SharedDeviceEvent& handed_over = job.gradients_ready(job_rank_);
  while (!handed_over.Done() && !job.gone()) {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  return !job.gone();
}

absl::Status GpuJobTransfer::Prepare(JobSession& job) {
  const JobTerms terms{.memory = job.memory(), .own_optimizer = job.own_optimizer()};
  const DType type = job.parameters(job_rank_).type();
  if (prepared_ == std::pair(terms, type)) return absl::OkStatus();
  ISTHMUS_RETURN_IF_ERROR(communicator_.Synchronize(stream_));
  const bool on_device = terms.memory == JobMemory::kDevice;
  const bool floats = type == DType::kFloat32;
  const size_t bucket_bytes = longest_bucket_ * SizeOf(type);
  ISTHMUS_RETURN_IF_ERROR(incoming_.Reserve(device_, bucket_bytes));  // to adopt
  if (!on_device) ISTHMUS_RETURN_IF_ERROR(outgoing_.Reserve(device_, bucket_bytes));
  if (!alone() && (!floats || terms.own_optimizer)) {
    ISTHMUS_RETURN_IF_ERROR(wide_.Reserve(device_, longest_bucket_ * sizeof(float)));
  }
  if (!alone() && !floats) {
    ISTHMUS_RETURN_IF_ERROR(narrow_.Reserve(device_, longest_owned_ * SizeOf(type)));
  }
  if (!on_device || !floats || !alone() || terms.own_optimizer) {
    for (Slot& slot : slots_) {
      ISTHMUS_RETURN_IF_ERROR(slot.memory.Reserve(device_, longest_owned_ * sizeof(float)));
    }
  }
  prepared_ = {terms, type};
  return absl::OkStatus();
}

absl::Status GpuJobTransfer::Hold(JobSession& job) {
  if (held_.get() == &job) return absl::OkStatus();
  ISTHMUS_RETURN_IF_ERROR(Release());
  held_ = job.shared_from_this();
  return absl::OkStatus();
}

}  // namespace isthmus
