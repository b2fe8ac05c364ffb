// One site of a rival: the model, batches, schedule, clipping and optimizers of isthmus-lm.
#ifndef ISTHMUS_TESTS_RIVALS_SITE_H_
#define ISTHMUS_TESTS_RIVALS_SITE_H_

#include <cstdint>
#include <vector>

#include "examples/lm/local_service.h"
#include "examples/lm/trainer.h"

namespace isthmus::rivals {

// Single-threaded; several sites may run at once.
class Site {
 public:
  // `text` outlives it. options.steps is the run's length.
  Site(const lm::TrainerOptions& options, const lm::OptimizerFactory& optimizer,
       const lm::Text& text, uint32_t index, int ranks);

  // gradients() become the mean of the ranks' clipped gradients in `round`, counted from 0. False
  // where a loss or gradient is not finite.
  bool ComputeGradients(uint64_t round);
  // By gradients().
  void Step(uint64_t round);

  float ValidationLoss();

  const std::vector<float*>& parameters() const { return service_.parameters(); }
  const std::vector<float*>& gradients() const { return service_.gradients(); }

 private:
  const lm::TrainerOptions options_;
  const lm::Text& text_;
  const uint32_t index_;
  const int ranks_;
  const std::vector<lm::TensorSpec> tensors_;
  lm::LocalService service_;
  lm::Model<float> model_;
  lm::ParameterSet<float> rank_gradients_;
  lm::Batch batch_;
  lm::Batch validation_batch_;
};

}  // namespace isthmus::rivals

#endif  // ISTHMUS_TESTS_RIVALS_SITE_H_
