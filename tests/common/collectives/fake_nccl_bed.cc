#include "common/base/check.h"
#include "common/collectives/nccl_communicator.h"
#include "tests/common/collectives/communicator_bed.h"
#include "tests/common/collectives/fake_nccl.h"

namespace isthmus {

CommunicatorBed& CommunicatorBed::Get() {
  static CommunicatorBed bed = [] {
    CommunicatorBed made;
    for (int rank = 0; rank < 5; ++rank) {
      made.devices.push_back(std::make_shared<HostDevice>(size_t{1} << 30, HostWork::kByThread));
    }
    made.make = [](uint32_t size) {
      const auto nccl = std::make_shared<FakeNccl>();
      std::vector<Device*> devices;
      for (uint32_t r = 0; r < size; ++r) devices.push_back(Get().devices[r].get());
      auto ranks = MakeNcclCommunicators(nccl, nccl->MakeId().value(), size, 0, devices);
      ISTHMUS_CHECK(ranks.ok());
      return *std::move(ranks);
    };
    return made;
  }();
  return bed;
}

}  // namespace isthmus
