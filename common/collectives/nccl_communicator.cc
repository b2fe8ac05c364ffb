#include "common/collectives/nccl_communicator.h"

#include <absl/strings/str_cat.h>

#include <chrono>
#include <thread>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

// The ends of one communicator in this process. Thread-safe.
//
// A call of NCCL's may block: the driver may let no kernel begin while another thread frees memory,
// say, and that may wait for a collective which waits for this very call. So each end has a lock of
// its own, which is held during calls, and who waits for one end, for the deadline or to abort them
// all never waits for another's.
class Ends {
 public:
  Ends(std::shared_ptr<Nccl> nccl, size_t count, NcclOptions options)
      : nccl_(std::move(nccl)), options_(std::move(options)), ends_(count) {}
  ~Ends() { Abort(absl::CancelledError("the communicator is going away")); }

  absl::Status Connect(const Nccl::Id& id, uint32_t size, uint32_t first_rank,
                       std::span<const std::unique_ptr<DeviceStream>> streams) {
    absl::Status status = Begin(id, size, first_rank, streams);
    const absl::Time end = options_.clock->Now() + options_.deadline;
    for (size_t i = 0; status.ok() && i < streams.size(); ++i) status = Await(i, "connect", end);
    if (!status.ok()) Abort(status);
    connecting_ = false;
    return status;
  }

  // Calls `operation(nccl, comm)` of end `i`, then waits until it is on its stream.
  template <typename F>
  absl::Status Call(size_t i, F operation) {
    absl::Status status;
    {
      MutexLock lock(&ends_[i].mu);
      ISTHMUS_RETURN_IF_ERROR(Aborted());
      status = operation(*nccl_, ends_[i].comm);
    }
    if (!status.ok()) return AbortedBy(status);
    return Await(i, "begin", options_.clock->Now() + options_.deadline);
  }

  // Until `event`, or until there is nothing to wait for any more: what an abort left on the stream
  // comes to its end by itself.
  absl::Status Watch(size_t i, DeviceEvent& event) {
    const absl::Time end = options_.clock->Now() + options_.deadline;
    while (!event.Done()) {
      if (!Poll(i).ok() || Late("end", end)) break;
      Pause();
    }
    event.Await();
    return Aborted();
  }

  // The first reason counts.
  void Abort(const absl::Status& reason) {
    {
      MutexLock lock(&mu_);
      if (aborted_.ok()) aborted_ = absl::AbortedError(reason.message());
    }
    // Those in a call come last: what they wait for may be the others' end.
    std::vector<End*> busy;
    for (End& end : ends_) {
      if (end.mu.TryLock()) {
        Nccl::Comm* const comm = std::exchange(end.comm, nullptr);
        end.mu.Unlock();
        AbortComm(comm);
      } else {
        busy.push_back(&end);
      }
    }
    for (End* end : busy) {
      Nccl::Comm* comm;
      {
        MutexLock lock(&end->mu);
        comm = std::exchange(end->comm, nullptr);
      }
      AbortComm(comm);
    }
  }
  absl::Status AbortedBy(const absl::Status& reason) {
    Abort(reason);
    return Aborted();
  }

 private:
  struct End {
    Mutex mu;
    Nccl::Comm* comm ABSL_GUARDED_BY(mu) = nullptr;  // null once aborted
  };

  absl::Status Aborted() {
    MutexLock lock(&mu_);
    return aborted_;
  }
  // Without any lock: it may take until its device comes to rest, and others are to be told
  // meanwhile. Nobody is in a call on it any more, nor will be.
  void AbortComm(Nccl::Comm* comm) {
    if (comm != nullptr) nccl_->Abort(comm);
  }

  absl::Status Begin(const Nccl::Id& id, uint32_t size, uint32_t first_rank,
                     std::span<const std::unique_ptr<DeviceStream>> streams) {
    nccl_->BeginGroup();
    absl::Status status;
    for (size_t i = 0; status.ok() && i < streams.size(); ++i) {
      const auto comm = nccl_->Begin(id, size, first_rank + static_cast<uint32_t>(i), *streams[i]);
      status = comm.status();
      MutexLock lock(&ends_[i].mu);
      if (comm.ok()) ends_[i].comm = *comm;
    }
    const absl::Status ended = nccl_->EndGroup();
    return status.ok() ? ended : status;
  }

  absl::StatusOr<bool> Poll(size_t i) {
    absl::StatusOr<bool> ready = false;
    {
      MutexLock lock(&ends_[i].mu);
      ISTHMUS_RETURN_IF_ERROR(Aborted());
      ready = nccl_->Poll(ends_[i].comm);
    }
    if (!ready.ok()) return AbortedBy(ready.status());
    return ready;
  }

  absl::Status Await(size_t i, const char* what, absl::Time end) {
    while (true) {
      ISTHMUS_ASSIGN_OR_RETURN(const bool ready, Poll(i));
      if (ready) return absl::OkStatus();
      if (Cancelled() || Late(what, end)) return Aborted();
      Pause();
    }
  }

  bool Cancelled() {
    if (!connecting_ || options_.cancelled == nullptr || !*options_.cancelled) return false;
    Abort(absl::CancelledError("NCCL: given up before all ranks had come"));
    return true;
  }

  bool Late(const char* what, absl::Time end) {
    if (options_.clock->Now() < end) return false;
    Abort(absl::DeadlineExceededError(absl::StrCat("NCCL: a collective did not ", what, " within ",
                                                   absl::FormatDuration(options_.deadline),
                                                   ": some rank has not come")));
    return true;
  }

  void Pause() const {
    if (options_.pause) {
      options_.pause();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

  const std::shared_ptr<Nccl> nccl_;
  const NcclOptions options_;
  bool connecting_ = true;  // one thread connects, before there are others
  std::vector<End> ends_;
  Mutex mu_;  // held for a moment only, after an end's
  absl::Status aborted_ ABSL_GUARDED_BY(mu_);
};

class NcclCommunicator : public DeviceCommunicator {
 public:
  NcclCommunicator(std::shared_ptr<Ends> ends, size_t index, uint32_t rank, uint32_t size,
                   std::unique_ptr<DeviceStream> stream, DeviceMemory word)
      : ends_(std::move(ends)),
        index_(index),
        rank_(rank),
        size_(size),
        word_(std::move(word)),
        stream_(std::move(stream)) {}

  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return size_; }

  absl::Status ReduceScatterMean(DeviceStream& stream, const float* input, const Partition& whole,
                                 float* output) override {
    return ends_->Call(index_, [&](Nccl& nccl, Nccl::Comm* comm) -> absl::Status {
      if (whole.is_equal()) {
        return nccl.ReduceScatter(comm, stream, input, output, whole.size(rank_));
      }
      return ForEachRun(nccl, whole, [&](uint32_t root, const Extent& extent, uint64_t packed) {
        return nccl.Reduce(comm, stream, input + extent.begin, output + packed, extent.size(),
                           root);
      });
    });
  }

  absl::Status AllGather(DeviceStream& stream, const void* input, const Partition& whole,
                         size_t element_bytes, void* output) override {
    return ends_->Call(index_, [&](Nccl& nccl, Nccl::Comm* comm) -> absl::Status {
      if (whole.is_equal()) {
        return nccl.AllGather(comm, stream, input, output, whole.size(rank_) * element_bytes);
      }
      const auto* const from = static_cast<const std::byte*>(input);
      auto* const to = static_cast<std::byte*>(output);
      return ForEachRun(nccl, whole, [&](uint32_t root, const Extent& extent, uint64_t packed) {
        return nccl.Broadcast(comm, stream, from + packed * element_bytes,
                              to + extent.begin * element_bytes, extent.size() * element_bytes,
                              root);
      });
    });
  }

  absl::Status Max(DeviceStream& stream, uint32_t* word) override {
    return ends_->Call(index_,
                       [&](Nccl& nccl, Nccl::Comm* comm) { return nccl.Max(comm, stream, word); });
  }

  absl::Status Await(DeviceEvent& event) override { return ends_->Watch(index_, event); }

  absl::Status Synchronize(DeviceStream& stream) override {
    const absl::Status watched = Await(*stream.Record());
    const absl::Status status = stream.Synchronize();
    return watched.ok() ? status : watched;
  }

  absl::Status Barrier() override {
    ISTHMUS_RETURN_IF_ERROR(Max(*stream_, word_.as<uint32_t>()));
    return Synchronize(*stream_);
  }

  void Abort(const absl::Status& reason) override { ends_->Abort(reason); }

 private:
  // One call for each run of each rank, as one: call(rank, extent, where it is packed), of which
  // only that rank's own packed memory is looked at.
  template <typename F>
  absl::Status ForEachRun(Nccl& nccl, const Partition& whole, F call) {
    nccl.BeginGroup();
    absl::Status status;
    for (uint32_t root = 0; root < size_; ++root) {
      uint64_t packed = 0;
      for (const Extent& extent : whole.extents(root)) {
        if (status.ok()) status = call(root, extent, root == rank_ ? packed : 0);
        packed += extent.size();
      }
    }
    const absl::Status ended = nccl.EndGroup();
    return status.ok() ? ended : status;
  }

  const std::shared_ptr<Ends> ends_;
  const size_t index_;  // among this process' ends
  const uint32_t rank_;
  const uint32_t size_;
  const DeviceMemory word_;  // of barriers
  const std::unique_ptr<DeviceStream> stream_;
};

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>> MakeNcclCommunicators(
    std::shared_ptr<Nccl> nccl, const Nccl::Id& id, uint32_t size, uint32_t first_rank,
    std::span<Device* const> devices, NcclOptions options) {
  ISTHMUS_CHECK(first_rank + devices.size() <= size);
  std::vector<std::unique_ptr<DeviceStream>> streams;
  std::vector<DeviceMemory> words;
  for (Device* device : devices) {
    ISTHMUS_ASSIGN_OR_RETURN(streams.emplace_back(), device->MakeStream());
    ISTHMUS_ASSIGN_OR_RETURN(words.emplace_back(), device->Allocate(sizeof(uint32_t)));
    streams.back()->Zero(words.back().data(), sizeof(uint32_t));
    ISTHMUS_RETURN_IF_ERROR(streams.back()->Synchronize());
  }
  const auto ends = std::make_shared<Ends>(std::move(nccl), devices.size(), std::move(options));
  ISTHMUS_RETURN_IF_ERROR(ends->Connect(id, size, first_rank, streams));
  std::vector<std::unique_ptr<DeviceCommunicator>> communicators;
  for (size_t i = 0; i < devices.size(); ++i) {
    communicators.push_back(
        std::make_unique<NcclCommunicator>(ends, i, first_rank + static_cast<uint32_t>(i), size,
                                           std::move(streams[i]), std::move(words[i])));
  }
  return communicators;
}

}  // namespace isthmus
