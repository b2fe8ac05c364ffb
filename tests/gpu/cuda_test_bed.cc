// The tests of tests/common/gpu on a GPU. Skips, by name, where there is none.
#include <gtest/gtest.h>

#include <cstdio>

#include "common/device/cuda_device.h"
#include "common/gpu/cuda_gpu_kernels.h"
#include "tests/common/gpu/test_bed.h"

namespace isthmus {

TestBed& TestBed::Get() {
  static TestBed bed = [] {
    TestBed made;
    made.device = OpenCudaDevice(0).value();
    made.stream = made.device->MakeStream().value();
    made.kernels.push_back(MakeCudaGpuKernels());
    return made;
  }();
  return bed;
}

}  // namespace isthmus

int main(int argc, char** argv) {
  constexpr int kSkip = 77;  // CTest's SKIP_RETURN_CODE
  testing::InitGoogleTest(&argc, argv);
  const auto device = isthmus::OpenCudaDevice(0);
  if (!device.ok()) {
    std::printf("SKIPPED: %s\n", std::string(device.status().message()).c_str());
    return kSkip;
  }
  std::printf("%s\n", (*device)->name().c_str());
  return RUN_ALL_TESTS();
}
