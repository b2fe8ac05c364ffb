#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/collectives/device_communicator.h"

namespace isthmus {
namespace {

class StagedCommunicator : public DeviceCommunicator {
 public:
  StagedCommunicator(std::unique_ptr<Communicator> host, Device* device)
      : host_(std::move(host)), device_(*device) {}

  uint32_t rank() const override { return host_->rank(); }
  uint32_t size() const override { return host_->size(); }

  absl::Status ReduceScatterMean(DeviceStream& stream, const float* input, Parts parts,
                                 float* output) override {
    const uint64_t begin = parts[rank()], length = parts[rank() + 1] - begin;
    ISTHMUS_RETURN_IF_ERROR(Reserve((parts.back() + length) * sizeof(float)));
    const std::span<float> whole(pinned_.as<float>(), parts.back());
    const std::span<float> mean(pinned_.as<float>() + parts.back(), length);
    stream.CopyOut(whole.data(), input, whole.size_bytes());
    ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
    ISTHMUS_RETURN_IF_ERROR(host_->ReduceScatterMean(whole, begin, mean));
    stream.CopyIn(output, mean.data(), mean.size_bytes());
    return stream.Synchronize();  // the next collective uses the same memory
  }

  absl::Status AllGather(DeviceStream& stream, const void* input, Parts parts, size_t element_bytes,
                         void* output) override {
    // In the host's words: bytes that travel as floats or halves, whichever they are.
    ISTHMUS_CHECK(element_bytes == 4 || element_bytes == 2);
    const uint64_t begin = parts[rank()] * element_bytes;
    const uint64_t size = parts[rank() + 1] * element_bytes - begin;
    const uint64_t whole = parts.back() * element_bytes;
    ISTHMUS_CHECK(begin % 4 == 0 && size % 4 == 0 && whole % 4 == 0);
    ISTHMUS_RETURN_IF_ERROR(Reserve(whole + size));
    float* const all = pinned_.as<float>();
    float* const mine = all + whole / 4;
    stream.CopyOut(mine, input, size);
    ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
    ISTHMUS_RETURN_IF_ERROR(
        host_->AllGather(std::span(mine, size / 4), begin / 4, std::span(all, whole / 4)));
    stream.CopyIn(output, all, whole);
    return stream.Synchronize();
  }

  absl::Status Max(DeviceStream& stream, uint32_t* word) override {
    ISTHMUS_RETURN_IF_ERROR(Reserve(sizeof(float) * (size() + 1)));
    // A word per rank, as bytes of a gather.
    float* const mine = pinned_.as<float>();
    const std::span<float> all(mine + 1, size());
    stream.CopyOut(mine, word, sizeof(uint32_t));
    ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
    ISTHMUS_RETURN_IF_ERROR(host_->AllGather(std::span(mine, 1), rank(), all));
    uint32_t largest = 0;
    for (const float& said : all) largest = std::max(largest, std::bit_cast<uint32_t>(said));
    *pinned_.as<uint32_t>() = largest;
    stream.CopyIn(word, mine, sizeof(uint32_t));
    return stream.Synchronize();
  }

  absl::Status Await(DeviceEvent& event) override {
    event.Await();
    return absl::OkStatus();
  }
  absl::Status Synchronize(DeviceStream& stream) override { return stream.Synchronize(); }
  absl::Status Barrier() override { return host_->Barrier(); }
  void Abort(const absl::Status& reason) override { host_->Abort(reason); }

 private:
  absl::Status Reserve(size_t size_bytes) {
    if (pinned_.size_bytes() >= size_bytes) return absl::OkStatus();
    pinned_ = DeviceMemory();
    ISTHMUS_ASSIGN_OR_RETURN(pinned_, device_.AllocatePinned(size_bytes));
    return absl::OkStatus();
  }

  const std::unique_ptr<Communicator> host_;
  Device& device_;
  DeviceMemory pinned_;  // used within a call only
};

}  // namespace

std::unique_ptr<DeviceCommunicator> MakeStagedCommunicator(std::unique_ptr<Communicator> host,
                                                           Device* device) {
  return std::make_unique<StagedCommunicator>(std::move(host), device);
}

}  // namespace isthmus
