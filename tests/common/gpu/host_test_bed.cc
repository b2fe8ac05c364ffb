#include "common/device/host_device.h"
#include "tests/common/gpu/test_bed.h"

namespace isthmus {

TestBed& TestBed::Get() {
  static TestBed bed = [] {
    TestBed made;
    made.device = std::make_unique<HostDevice>();
    made.stream = made.device->MakeStream().value();
    for (uint64_t seed : {0, 1, 2}) made.kernels.push_back(MakeHostGpuKernels(seed));
    return made;
  }();
  return bed;
}

}  // namespace isthmus
