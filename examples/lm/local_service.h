// AdamW in this process: one rank, no daemon. What a run over several sites is compared with.
//
// Source: Loshchilov & Hutter (arXiv:1711.05101), algorithm 2.
#ifndef ISTHMUS_EXAMPLES_LM_LOCAL_SERVICE_H_
#define ISTHMUS_EXAMPLES_LM_LOCAL_SERVICE_H_

#include <memory>
#include <vector>

#include "examples/lm/parameter_service.h"

namespace isthmus::lm {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
};

class LocalService : public ParameterService {
 public:
  explicit LocalService(const AdamWOptions& options = {});
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

  const AdamWOptions options_;
  std::unique_ptr<State> state_;
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_LOCAL_SERVICE_H_
