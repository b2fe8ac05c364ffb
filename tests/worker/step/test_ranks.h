// The ranks that the tests of this folder are about: those of CPUs (cpu_test_ranks.cc), and those
// of GPUs with the host in the GPU's place (gpu_test_ranks.cc).
#ifndef ISTHMUS_TESTS_WORKER_STEP_TEST_RANKS_H_
#define ISTHMUS_TESTS_WORKER_STEP_TEST_RANKS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "common/device/device.h"
#include "worker/step/rank_state.h"

namespace isthmus {

std::unique_ptr<LocalRanks> MakeTestRanks(uint32_t count);
// Those of the last ranks that were made; only where these are GPUs' that the host plays.
std::vector<std::shared_ptr<Device>> TestDevices();

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_WORKER_STEP_TEST_RANKS_H_
