// What a daemon's ranks are to be made of, in a flag's words.
#ifndef ISTHMUS_WORKER_STEP_RANK_CHOICE_H_
#define ISTHMUS_WORKER_STEP_RANK_CHOICE_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "worker/step/gpu_ranks.h"

namespace isthmus {

inline constexpr uint32_t kMaxLocalRanks = 256;

struct RankChoice {
  enum class Kind {
    kCpu,      // "cpu:N"
    kCuda,     // "cuda:0,1" or "cuda:all": one rank per GPU named; a GPU may be named twice
    kHostGpu,  // "host-gpu:N": the code of GPU ranks with the host in the GPU's place, for tests
  };
  Kind kind = Kind::kCpu;
  uint32_t count = 1;        // but for kCuda
  std::vector<int> devices;  // kCuda: the GPUs by rank; empty: all there are

  friend bool operator==(const RankChoice&, const RankChoice&) = default;
};

// Errors: INVALID_ARGUMENT with what was expected.
absl::StatusOr<RankChoice> ParseRankChoice(const std::string& text);

// How ranks on these devices are connected: by NCCL where each has a GPU of its own and there is
// libnccl.so.2, else through the host's memory. `spanning`: the group has ranks in other daemons,
// too. `how` receives the choice in words.
std::shared_ptr<const GpuConnector> ChooseConnection(const RankChoice& choice, size_t ranks,
                                                     bool spanning, std::string* how);

// Where GPU ranks live, by rank; none for kCpu. Errors: FAILED_PRECONDITION without a driver or
// without CUDA in this build; NOT_FOUND for a GPU that there is not. Before other threads start: it
// sets an environment variable of CUDA's.
absl::StatusOr<std::vector<GpuRankPlace>> OpenGpuPlaces(const RankChoice& choice);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_RANK_CHOICE_H_
