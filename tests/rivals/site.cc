#include "tests/rivals/site.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace isthmus::rivals {

Site::Site(const lm::TrainerOptions& options, const lm::OptimizerFactory& optimizer,
           const lm::Text& text, uint32_t index, int ranks)
    : options_(options),
      text_(text),
      index_(index),
      ranks_(ranks),
      tensors_(lm::ModelTensors(options.model)),
      service_(optimizer),
      model_(options.model, options.batch),
      rank_gradients_(tensors_) {
  const auto initial =
      lm::InitialParameters<float>(options.model, options.seed, options.initial_deviation);
  if (!service_.Attach(tensors_, initial).ok()) std::abort();  // nothing that could fail
  model_.Bind(service_.parameters(), rank_gradients_.pointers());
}

bool Site::ComputeGradients(uint64_t round) {
  for (size_t i = 0; i < tensors_.size(); ++i)
    std::fill_n(gradients()[i], tensors_[i].size(), 0.0f);
  const float share = 1.0f / static_cast<float>(ranks_);
  for (int rank = 0; rank < ranks_; ++rank) {
    const lm::BatchKey key = {options_.seed, index_, static_cast<uint32_t>(rank), round};
    lm::FillRandom(text_.train(), key, options_.batch, options_.model.context, &batch_);
    const float loss = model_.Forward(batch_);
    model_.Backward(batch_);
    if (!std::isfinite(loss) ||
        !lm::ClipGradients(tensors_, rank_gradients_.pointers(), options_.clip)) {
      return false;
    }
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const float* own = rank_gradients_.pointers()[i];
      float* mean = gradients()[i];
      for (int64_t j = 0; j < tensors_[i].size(); ++j) mean[j] += share * own[j];
    }
  }
  return true;
}

void Site::Step(uint64_t round) {
  lm::Schedule schedule = options_.schedule;
  schedule.rounds = options_.steps;
  lm::StepInput input = {};
  input.rates.learning_rate.fill(lm::LearningRate(schedule, round));
  input.rates.weight_decay[lm::kDecayedGroup] = static_cast<float>(options_.weight_decay);
  if (!service_.Step(input).ok()) std::abort();
}

float Site::ValidationLoss() { return lm::ValidationLoss(text_, &model_, &validation_batch_); }

}  // namespace isthmus::rivals
