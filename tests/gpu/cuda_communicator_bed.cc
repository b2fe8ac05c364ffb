// The tests of tests/common/collectives on NCCL, a rank for each GPU of this machine.
#include <algorithm>

#include "common/base/check.h"
#include "common/collectives/nccl_communicator.h"
#include "tests/common/collectives/communicator_bed.h"
#include "tests/gpu/cuda_main.h"

namespace isthmus {

CommunicatorBed& CommunicatorBed::Get() {
  static CommunicatorBed bed = [] {
    CommunicatorBed made;
    for (int i = 0; i < std::min(8, CountCudaDevices().value()); ++i) {
      made.devices.push_back(OpenCudaDevice(i).value());
    }
    made.make = [](uint32_t size) {
      const auto nccl = OpenNccl().value();
      std::vector<Device*> devices;
      for (uint32_t r = 0; r < size; ++r) devices.push_back(Get().devices[r].get());
      auto ranks = MakeNcclCommunicators(nccl, nccl->MakeId().value(), size, 0, devices);
      if (!ranks.ok()) std::printf("%s\n", ranks.status().ToString().c_str());
      ISTHMUS_CHECK(ranks.ok());
      return *std::move(ranks);
    };
    return made;
  }();
  return bed;
}

}  // namespace isthmus

int main(int argc, char** argv) {
  return isthmus::RunCudaTests(argc, argv, [] { return isthmus::OpenNccl().status(); });
}
