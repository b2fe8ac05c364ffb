#include "common/collectives/local_communicator.h"
#include "common/device/host_device.h"
#include "tests/common/collectives/communicator_bed.h"

namespace isthmus {

CommunicatorBed& CommunicatorBed::Get() {
  static CommunicatorBed bed = [] {
    CommunicatorBed made;
    for (int rank = 0; rank < 5; ++rank) made.devices.push_back(std::make_shared<HostDevice>());
    made.make = [](uint32_t size) {
      std::vector<std::unique_ptr<DeviceCommunicator>> communicators;
      for (auto& host : MakeLocalCommunicators(size)) {
        Device* const device = Get().devices[host->rank()].get();
        communicators.push_back(MakeStagedCommunicator(std::move(host), device));
      }
      return communicators;
    };
    return made;
  }();
  return bed;
}

}  // namespace isthmus
