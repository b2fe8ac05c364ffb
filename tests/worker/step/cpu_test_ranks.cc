#include "tests/worker/step/test_ranks.h"
#include "worker/step/cpu_ranks.h"

namespace isthmus {

std::unique_ptr<LocalRanks> MakeTestRanks(uint32_t count) { return MakeCpuRanks(count, 2); }

}  // namespace isthmus
