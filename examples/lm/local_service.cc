#include "examples/lm/local_service.h"

#include <utility>

#include "examples/lm/stopwatch.h"

namespace isthmus::lm {

struct LocalService::State {
  State(const std::vector<TensorSpec>& specs, std::unique_ptr<Optimizer> made)
      : parameters(specs), gradients(specs), optimizer(std::move(made)) {}

  ParameterSet<float> parameters;
  ParameterSet<float> gradients;
  const std::unique_ptr<Optimizer> optimizer;
  uint64_t round = 0;
};

LocalService::LocalService(OptimizerFactory make_optimizer)
    : make_optimizer_(std::move(make_optimizer)) {}
LocalService::~LocalService() = default;

absl::Status LocalService::Attach(const std::vector<TensorSpec>& tensors,
                                  const ParameterSet<float>& initial) {
  if (state_ != nullptr) return absl::OkStatus();
  state_ = std::make_unique<State>(tensors, make_optimizer_(tensors));
  state_->parameters.flat() = initial.flat();
  return absl::OkStatus();
}

const std::vector<float*>& LocalService::parameters() const {
  return state_->parameters.pointers();
}

const std::vector<float*>& LocalService::gradients() const { return state_->gradients.pointers(); }

Standing LocalService::standing() const {
  Standing standing;
  standing.round = state_->round;
  return standing;
}

absl::StatusOr<StepOutput> LocalService::Step(const StepInput& input) {
  const Stopwatch watch;
  ++state_->round;
  StepOutput output;
  output.applied = true;
  output.round = state_->round;
  output.loss = input.loss;
  if (input.skip) return output;

  state_->optimizer->Step(input.rates, state_->parameters.pointers(), state_->gradients.pointers());
  output.blocked_seconds = output.local_seconds = watch.Seconds();
  return output;
}

}  // namespace isthmus::lm
