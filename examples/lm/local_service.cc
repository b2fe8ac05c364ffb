#include "examples/lm/local_service.h"

#include <cmath>

#include "examples/lm/stopwatch.h"

namespace isthmus::lm {

struct LocalService::State {
  explicit State(const std::vector<TensorSpec>& specs)
      : tensors(specs), parameters(specs), gradients(specs), mean(specs), square(specs) {}

  const std::vector<TensorSpec> tensors;
  ParameterSet<float> parameters;
  ParameterSet<float> gradients;
  ParameterSet<float> mean;  // the first moment, and the second
  ParameterSet<float> square;
  uint64_t round = 0;
  uint64_t updates = 0;  // rounds that were not skipped
};

LocalService::LocalService(const AdamWOptions& options) : options_(options) {}
LocalService::~LocalService() = default;

absl::Status LocalService::Attach(const std::vector<TensorSpec>& tensors,
                                  const ParameterSet<float>& initial) {
  if (state_ != nullptr) return absl::OkStatus();
  state_ = std::make_unique<State>(tensors);
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

  const double updates = static_cast<double>(++state_->updates);
  const float beta1 = static_cast<float>(options_.beta1);
  const float beta2 = static_cast<float>(options_.beta2);
  const float epsilon = static_cast<float>(options_.epsilon);
  const float mean_scale = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta1, updates)));
  const float square_scale = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta2, updates)));
  for (size_t i = 0; i < state_->tensors.size(); ++i) {
    const uint32_t group = state_->tensors[i].parameter_group;
    const float lr = input.learning_rate[group];
    const float keep = 1.0f - lr * input.weight_decay[group];
    float* p = state_->parameters.pointers()[i];
    const float* g = state_->gradients.pointers()[i];
    float* m = state_->mean.pointers()[i];
    float* v = state_->square.pointers()[i];
    const int64_t size = state_->tensors[i].size();
    for (int64_t j = 0; j < size; ++j) {
      m[j] = beta1 * m[j] + (1.0f - beta1) * g[j];
      v[j] = beta2 * v[j] + (1.0f - beta2) * g[j] * g[j];
      p[j] = keep * p[j] - lr * (m[j] * mean_scale) / (std::sqrt(v[j] * square_scale) + epsilon);
    }
  }
  output.blocked_seconds = output.local_seconds = watch.Seconds();
  return output;
}

}  // namespace isthmus::lm
