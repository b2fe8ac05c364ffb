#include "common/device/host_device.h"
#include "tests/worker/step/test_ranks.h"
#include "worker/step/gpu_ranks.h"

namespace isthmus {
namespace {

std::vector<std::weak_ptr<Device>> last_made;

}  // namespace

std::unique_ptr<LocalRanks> MakeTestRanks(uint32_t count) {
  std::vector<GpuRankPlace> places;
  for (uint32_t rank = 0; rank < count; ++rank) {
    places.push_back({std::make_shared<HostDevice>(), MakeHostGpuKernels(rank)});
  }
  last_made.clear();
  for (const GpuRankPlace& place : places) last_made.push_back(place.device);
  return MakeGpuRanks(std::move(places));
}

std::vector<std::shared_ptr<Device>> TestDevices() {
  std::vector<std::shared_ptr<Device>> devices;
  for (const auto& device : last_made) devices.push_back(device.lock());
  return devices;
}

}  // namespace isthmus
