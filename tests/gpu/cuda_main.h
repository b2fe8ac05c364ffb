// main() of tests that need a GPU: they skip, by name and with the reason, where there is none.
#ifndef ISTHMUS_TESTS_GPU_CUDA_MAIN_H_
#define ISTHMUS_TESTS_GPU_CUDA_MAIN_H_

#include <absl/status/status.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <string>

#include "common/device/cuda_device.h"

namespace isthmus {

// What CTest takes for a skip (SKIP_RETURN_CODE), said why.
inline int SkipCudaTest(const absl::Status& reason) {
  std::printf("SKIPPED: %s\n", std::string(reason.message()).c_str());
  return 77;
}

// `also`: what else has to be there; null: nothing.
inline int RunCudaTests(int argc, char** argv, absl::Status (*also)() = nullptr) {
  testing::InitGoogleTest(&argc, argv);
  ::setenv("CUDA_MODULE_LOADING", "EAGER", 0);  // as rank_choice.cc
  const auto device = OpenCudaDevice(0);
  if (!device.ok()) return SkipCudaTest(device.status());
  if (also != nullptr) {
    if (const absl::Status status = also(); !status.ok()) return SkipCudaTest(status);
  }
  std::printf("%s\n", (*device)->name().c_str());
  return RUN_ALL_TESTS();
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_GPU_CUDA_MAIN_H_
