// The tests of tests/common/gpu on a GPU. Skips, by name, where there is none.
#include "common/device/cuda_device.h"
#include "common/gpu/cuda_gpu_kernels.h"
#include "tests/common/gpu/test_bed.h"
#include "tests/gpu/cuda_main.h"

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

int main(int argc, char** argv) { return isthmus::RunCudaTests(argc, argv); }
