// Whose collectives the tests of device_communicator_test.cc are about: staged through the host
// (staged_bed.cc), NCCL's logic on a made-up NCCL (fake_nccl_bed.cc), NCCL itself (tests/gpu).
#ifndef ISTHMUS_TESTS_COMMON_COLLECTIVES_COMMUNICATOR_BED_H_
#define ISTHMUS_TESTS_COMMON_COLLECTIVES_COMMUNICATOR_BED_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "common/collectives/device_communicator.h"

namespace isthmus {

struct CommunicatorBed {
  static CommunicatorBed& Get();  // of the test program

  std::vector<std::shared_ptr<Device>> devices;  // by rank; as many ranks as there may be
  // Connected to each other.
  std::vector<std::unique_ptr<DeviceCommunicator>> (*make)(uint32_t size);
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_COLLECTIVES_COMMUNICATOR_BED_H_
