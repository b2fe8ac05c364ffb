// GPU ranks whose streams run by themselves and that meet as on NCCL.
#include "common/collectives/nccl_communicator.h"
#include "tests/common/collectives/fake_nccl.h"
#include "tests/worker/step/test_ranks.h"
#include "worker/step/gpu_ranks.h"

namespace isthmus {

std::unique_ptr<LocalRanks> MakeTestRanks(uint32_t count) {
  std::vector<GpuRankPlace> places;
  for (uint32_t rank = 0; rank < count; ++rank) {
    places.push_back({std::make_shared<HostDevice>(size_t{1} << 30, HostWork::kByThread),
                      MakeHostGpuKernels(rank)});
  }
  const auto nccl = std::make_shared<FakeNccl>();
  return MakeGpuRanks(std::move(places), [nccl](std::span<Device* const> devices) {
    return MakeNcclCommunicators(nccl, nccl->MakeId().value(),
                                 static_cast<uint32_t>(devices.size()), 0, devices);
  });
}

}  // namespace isthmus
