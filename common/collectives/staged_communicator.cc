#include <algorithm>
#include <bit>
#include <span>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/collectives/device_communicator.h"

namespace isthmus {
namespace {

// The same bytes, as 4-byte words. CHECKs that they are whole words.
Partition InWords(const Partition& whole, size_t element_bytes) {
  const auto words = [&](uint64_t elements) {
    ISTHMUS_CHECK(elements * element_bytes % sizeof(float) == 0);
    return elements * element_bytes / sizeof(float);
  };
  std::vector<std::vector<Extent>> extents(whole.ranks());
  for (uint32_t rank = 0; rank < whole.ranks(); ++rank) {
    for (const Extent& extent : whole.extents(rank)) {
      extents[rank].push_back({words(extent.begin), words(extent.end)});
    }
  }
  return Partition(words(whole.length()), extents);
}

class StagedCommunicator : public DeviceCommunicator {
 public:
  StagedCommunicator(std::unique_ptr<Communicator> host, Device* device)
      : host_(std::move(host)), device_(*device) {}

  uint32_t rank() const override { return host_->rank(); }
  uint32_t size() const override { return host_->size(); }

  absl::Status ReduceScatterMean(DeviceStream& stream, const float* input, const Partition& whole,
                                 float* output) override {
    const uint64_t length = whole.size(rank());
    ISTHMUS_RETURN_IF_ERROR(Reserve((whole.length() + length) * sizeof(float)));
    const std::span<float> all(pinned_.as<float>(), whole.length());
    const std::span<float> mean(pinned_.as<float>() + whole.length(), length);
    stream.CopyOut(all.data(), input, all.size_bytes());
    ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
    ISTHMUS_RETURN_IF_ERROR(host_->ReduceScatterMean(all, whole, mean));
    stream.CopyIn(output, mean.data(), mean.size_bytes());
    return stream.Synchronize();  // the next collective uses the same memory
  }

  absl::Status AllGather(DeviceStream& stream, const void* input, const Partition& whole,
                         size_t element_bytes, void* output) override {
    // Bytes travel in the host's floats, whatever they are.
    ISTHMUS_CHECK(element_bytes == 4 || element_bytes == 2);
    const Partition words = InWords(whole, element_bytes);
    const uint64_t own = words.size(rank());
    ISTHMUS_RETURN_IF_ERROR(Reserve((words.length() + own) * sizeof(float)));
    const std::span<float> all(pinned_.as<float>(), words.length());
    const std::span<float> mine(pinned_.as<float>() + words.length(), own);
    stream.CopyOut(mine.data(), input, mine.size_bytes());
    ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
    ISTHMUS_RETURN_IF_ERROR(host_->AllGather(mine, words, all));
    stream.CopyIn(output, all.data(), all.size_bytes());
    return stream.Synchronize();
  }

  absl::Status Max(DeviceStream& stream, uint32_t* word) override {
    ISTHMUS_RETURN_IF_ERROR(Reserve(sizeof(float) * (size() + 1)));
    // A word per rank, as bytes of a gather.
    const Partition words = Partition::InOrder(std::vector<uint64_t>(size(), 1));
    float* const mine = pinned_.as<float>();
    const std::span<float> all(mine + 1, size());
    stream.CopyOut(mine, word, sizeof(uint32_t));
    ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
    ISTHMUS_RETURN_IF_ERROR(host_->AllGather(std::span(mine, 1), words, all));
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
