// An optimizer in this process: one rank, no daemon. What a run over several sites is compared
// with.
#ifndef ISTHMUS_EXAMPLES_LM_LOCAL_SERVICE_H_
#define ISTHMUS_EXAMPLES_LM_LOCAL_SERVICE_H_

#include <memory>
#include <vector>

#include "examples/lm/optimizer.h"
#include "examples/lm/parameter_service.h"

namespace isthmus::lm {

class LocalService : public ParameterService {
 public:
  explicit LocalService(OptimizerFactory make_optimizer = AdamWFactory());
  ~LocalService() override;

  // Keeps its parameters and moments across a Detach() and Attach() of the same tensors.
  absl::Status Attach(const std::vector<TensorSpec>& tensors,
                      const ParameterSet<float>& initial) override;
  void Detach() override {}

  const std::vector<float*>& parameters() const override;
  const std::vector<float*>& gradients() const override;
  Standing standing() const override;
  absl::StatusOr<StepOutput> Step(const StepInput& input) override;

 private:
  struct State;

  const OptimizerFactory make_optimizer_;
  std::unique_ptr<State> state_;
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_LOCAL_SERVICE_H_
