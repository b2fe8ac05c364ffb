// Who holds the parameters and turns gradients into updates, as the trainer sees it: a run of many
// sites behind a worker daemon (isthmus_service.h), or an optimizer in this process
// (local_service.h).
#ifndef ISTHMUS_EXAMPLES_LM_PARAMETER_SERVICE_H_
#define ISTHMUS_EXAMPLES_LM_PARAMETER_SERVICE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/lm/optimizer.h"
#include "examples/lm/parameter_set.h"
#include "examples/lm/tensors.h"

namespace isthmus::lm {

// Where this rank stands.
struct Standing {
  uint32_t group_id = 0;
  uint32_t group_index = 0;
  uint32_t group_count = 1;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  // Steps done, and the run's last (0: no end): rounds, but where a round has several local steps.
  uint64_t round = 0;
  uint64_t rounds = 0;
};

struct StepInput {
  Rates rates;
  bool skip;         // the gradient is unusable
  uint64_t samples;  // the gradient's weight
  float loss;
};

struct StepOutput {
  bool applied = false;  // a step was done
  bool ended = false;    // the run is over
  uint64_t round = 0;    // steps done, as Standing has them
  float loss = 0;        // over all contributors, where there was an exchange
  double blocked_seconds = 0;
  double local_seconds = 0;
  double peer_wait_seconds = 0;
  double link_wait_seconds = 0;
};

// Single-threaded. Attach() again only after Detach().
class ParameterService {
 public:
  virtual ~ParameterService() = default;

  // Blocks until training can start; parameters() then holds the state to start from, `initial` or
  // later. Errors: UNAVAILABLE and ABORTED, attach again; FAILED_PRECONDITION, refused; CANCELLED,
  // a stop signal came.
  virtual absl::Status Attach(const std::vector<TensorSpec>& tensors,
                              const ParameterSet<float>& initial) = 0;
  // Detached already is fine.
  virtual void Detach() = 0;

  // One pointer per tensor; valid while attached.
  virtual const std::vector<float*>& parameters() const = 0;
  virtual const std::vector<float*>& gradients() const = 0;
  virtual Standing standing() const = 0;

  // Hands over the gradients and blocks until the parameters are new. Errors as Attach().
  virtual absl::StatusOr<StepOutput> Step(const StepInput& input) = 0;
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_PARAMETER_SERVICE_H_
