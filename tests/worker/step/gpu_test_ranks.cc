#include "common/device/host_device.h"
#include "tests/worker/step/test_ranks.h"
#include "worker/step/gpu_ranks.h"

namespace isthmus {

std::unique_ptr<LocalRanks> MakeTestRanks(uint32_t count) {
  std::vector<GpuRankPlace> places;
  for (uint32_t rank = 0; rank < count; ++rank) {
    places.push_back({std::make_shared<HostDevice>(), MakeHostGpuKernels(rank)});
  }
  return MakeGpuRanks(std::move(places));
}

}  // namespace isthmus
