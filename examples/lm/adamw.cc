#include <cmath>

#include "examples/lm/optimizer.h"
#include "examples/lm/parameter_set.h"

namespace isthmus::lm {
namespace {

class AdamW : public Optimizer {
 public:
  AdamW(const std::vector<TensorSpec>& tensors, const AdamWOptions& options)
      : options_(options), tensors_(tensors), mean_(tensors), square_(tensors) {}

  void Step(const Rates& rates, const std::vector<float*>& parameters,
            const std::vector<float*>& gradients) override {
    const auto updates = static_cast<double>(++updates_);
    const float beta1 = static_cast<float>(options_.beta1);
    const float beta2 = static_cast<float>(options_.beta2);
    const float epsilon = static_cast<float>(options_.epsilon);
    const float mean_scale = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta1, updates)));
    const float square_scale = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta2, updates)));
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const uint32_t group = tensors_[i].parameter_group;
      const float lr = rates.learning_rate[group];
      const float keep = 1.0f - lr * rates.weight_decay[group];
      float* p = parameters[i];
      const float* g = gradients[i];
      float* m = mean_.pointers()[i];
      float* v = square_.pointers()[i];
      const int64_t size = tensors_[i].size();
      for (int64_t j = 0; j < size; ++j) {
        m[j] = beta1 * m[j] + (1.0f - beta1) * g[j];
        v[j] = beta2 * v[j] + (1.0f - beta2) * g[j] * g[j];
        p[j] = keep * p[j] - lr * (m[j] * mean_scale) / (std::sqrt(v[j] * square_scale) + epsilon);
      }
    }
  }

 private:
  const AdamWOptions options_;
  const std::vector<TensorSpec> tensors_;
  ParameterSet<float> mean_;  // the first moment, and the second
  ParameterSet<float> square_;
  uint64_t updates_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdamW(const std::vector<TensorSpec>& tensors,
                                     const AdamWOptions& options) {
  return std::make_unique<AdamW>(tensors, options);
}

}  // namespace isthmus::lm
