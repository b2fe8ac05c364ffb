// An NCCL for tests, on streams of HostDevice whose work is done by threads: collectives wait for
// all ranks as a GPU's do, in the order of their streams. It can be told to fail.
#ifndef ISTHMUS_TESTS_COMMON_COLLECTIVES_FAKE_NCCL_H_
#define ISTHMUS_TESTS_COMMON_COLLECTIVES_FAKE_NCCL_H_

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/collectives/local_communicator.h"
#include "common/collectives/nccl.h"
#include "common/device/host_device.h"
#include "tests/common/tensor/partitions.h"

namespace isthmus {

struct Nccl::Comm {
  Nccl::Id id;
  std::shared_ptr<Communicator> ranks;  // what is queued may outlive the Comm
  std::shared_ptr<DeviceEvent>
      last;  // collectives of a comm come one after the other on any stream
};

// Thread-safe.
class FakeNccl : public Nccl {
 public:
  std::string version() const override { return "fake"; }

  absl::StatusOr<Id> MakeId() override {
    MutexLock lock(&mu_);
    Id id = {};
    std::memcpy(id.data(), &++last_id_, sizeof(last_id_));
    return id;
  }

  absl::StatusOr<Comm*> Begin(const Id& id, uint32_t size, uint32_t rank,
                              DeviceStream& /*stream*/) override {
    MutexLock lock(&mu_);
    Meeting& meeting = meetings_[id];
    if (meeting.ranks.empty()) {
      for (auto& local : MakeLocalCommunicators(size)) meeting.ranks.push_back(std::move(local));
    }
    ++meeting.begun;
    ++comms_;
    return new Comm{id, meeting.ranks[rank], nullptr};
  }

  absl::StatusOr<bool> Poll(Comm* comm) override {
    MutexLock lock(&mu_);
    if (!error_.ok()) return error_;
    const Meeting& meeting = meetings_[comm->id];
    return meeting.begun == meeting.ranks.size();
  }

  void Abort(Comm* comm) override {
    comm->ranks->Abort(absl::CancelledError("aborted"));
    delete comm;
    MutexLock lock(&mu_);
    --comms_;
    stuck_ = -1;
    unstuck_.NotifyAll();
  }

  void BeginGroup() override {}
  absl::Status EndGroup() override { return absl::OkStatus(); }

  absl::Status Reduce(Comm* comm, DeviceStream& stream, const float* input, float* output,
                      size_t count, uint32_t root) override {
    const size_t mine = comm->ranks->rank() == root ? count : 0;
    return Queue(comm, stream, [=](Communicator& ranks) {
      return ranks.ReduceScatterMean(Floats(input, count),
                                     Partition::AllOf(root, ranks.size(), count), {output, mine});
    });
  }
  absl::Status ReduceScatter(Comm* comm, DeviceStream& stream, const float* input, float* output,
                             size_t count) override {
    return Queue(comm, stream, [=](Communicator& ranks) {
      return ranks.ReduceScatterMean(Floats(input, count * ranks.size()),
                                     EqualPartition(ranks.size(), count), {output, count});
    });
  }
  absl::Status Broadcast(Comm* comm, DeviceStream& stream, const void* input, void* output,
                         size_t size_bytes, uint32_t root) override {
    return Queue(comm, stream, [=](Communicator& ranks) {
      const size_t mine = ranks.rank() == root ? size_bytes / 4 : 0;
      return ranks.AllGather(Floats(input, mine),
                             Partition::AllOf(root, ranks.size(), size_bytes / 4),
                             Floats(output, size_bytes / 4));
    });
  }
  absl::Status AllGather(Comm* comm, DeviceStream& stream, const void* input, void* output,
                         size_t size_bytes) override {
    return Queue(comm, stream, [=](Communicator& ranks) {
      return ranks.AllGather(Floats(input, size_bytes / 4),
                             EqualPartition(ranks.size(), size_bytes / 4),
                             Floats(output, size_bytes / 4 * ranks.size()));
    });
  }
  absl::Status Max(Comm* comm, DeviceStream& stream, uint32_t* word) override {
    return Queue(comm, stream, [=](Communicator& ranks) {
      std::vector<float> all(ranks.size());
      const absl::Status status =
          ranks.AllGather(Floats(word, 1), EqualPartition(ranks.size(), 1), std::span(all));
      for (const float& said : all) {
        uint32_t bits = 0;
        std::memcpy(&bits, &said, sizeof(bits));
        if (status.ok()) *word = std::max(*word, bits);
      }
      return status;
    });
  }

  // --- for tests ---------------------------------------------------------------------------------

  // From now on every Poll() says so; OK: none does.
  void Fail(const absl::Status& error) {
    MutexLock lock(&mu_);
    error_ = error;
  }
  // The next call of this rank does not return before some comm is aborted: as if a driver had
  // waited for its collective.
  void StickAt(int rank) {
    MutexLock lock(&mu_);
    stuck_ = rank;
  }
  // Blocks until that call has come.
  void AwaitStuck() {
    MutexLock lock(&mu_);
    while (!is_stuck_) unstuck_.Wait(&mu_);
  }
  // Comms that have not been aborted.
  int comms() {
    MutexLock lock(&mu_);
    return comms_;
  }

 private:
  struct Meeting {
    std::vector<std::shared_ptr<Communicator>> ranks;
    size_t begun = 0;
  };

  static std::span<float> Floats(const void* data, size_t count) {
    return {static_cast<float*>(const_cast<void*>(data)), count};
  }

  template <typename F>
  absl::Status Queue(Comm* comm, DeviceStream& stream, F operation) {
    {
      MutexLock lock(&mu_);
      while (stuck_ == static_cast<int>(comm->ranks->rank())) {
        is_stuck_ = true;
        unstuck_.NotifyAll();
        unstuck_.Wait(&mu_);
      }
    }
    if (comm->last != nullptr) stream.Wait(comm->last);
    static_cast<HostStream&>(stream).Queue([ranks = comm->ranks, operation] {
      (void)operation(*ranks);  // after an abort a GPU's stream goes on, too
      return absl::OkStatus();
    });
    comm->last = stream.Record();
    return absl::OkStatus();
  }

  Mutex mu_;
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<Id, Meeting> meetings_ ABSL_GUARDED_BY(mu_);
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  int comms_ ABSL_GUARDED_BY(mu_) = 0;
  CondVar unstuck_;
  int stuck_ ABSL_GUARDED_BY(mu_) = -1;
  bool is_stuck_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_COLLECTIVES_FAKE_NCCL_H_
