#include "tests/rivals/rivals.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "tests/rivals/power_sgd.h"
#include "tests/rivals/site.h"

namespace isthmus::rivals {
namespace {

// Null: float32.
std::unique_ptr<const Compressor> MakeCompressor(const RivalOptions& options) {
  if (options.rival == Rival::kSparseLoco) return MakeSparseBlocks();
  return options.bits == 32 ? nullptr : MakeRowBins(options.bits);
}

class Run {
 public:
  Run(const RivalOptions& options, const lm::Text& text)
      : options_(options), tensors_(lm::ModelTensors(options.trainer.model)) {
    for (int i = 0; i < options.sites; ++i) {
      sites_.push_back(std::make_unique<Site>(options.trainer, options.optimizer, text,
                                              static_cast<uint32_t>(i), options.ranks));
      parameters_.push_back(sites_.back()->parameters());
      gradients_.push_back(sites_.back()->gradients());
    }
    if (options.rival == Rival::kPowerSgd) {
      power_sgd_.emplace(tensors_, options.sites, options.power_sgd_rank, options.trainer.seed);
    }
    if (options.rival == Rival::kDiloco || options.rival == Rival::kSparseLoco) {
      diloco_.emplace(options.diloco, tensors_, options.sites, parameters_[0],
                      MakeCompressor(options));
    }
  }

  RivalResult Train() {
    const uint64_t steps = options_.trainer.steps;
    const uint64_t validate_every = options_.trainer.validate_every;
    RivalResult result;
    result.parameters = lm::TotalSize(tensors_);
    CountTraffic(&result);
    for (uint64_t round = 0; round < steps; ++round) {
      if (!ComputeGradients(round)) return result;
      if (options_.rival == Rival::kFull) AverageAll(tensors_, gradients_);
      if (power_sgd_) power_sgd_->Average(gradients_);
      for (const auto& site : sites_) site->Step(round);
      if (diloco_ && EndsInnerSteps(round + 1)) diloco_->Round(parameters_);
      if (validate_every != 0 && (round + 1) % validate_every == 0) {
        result.validation_curve.push_back({round + 1, sites_[0]->ValidationLoss()});
      }
    }
    result.validation_loss = sites_[0]->ValidationLoss();
    return result;
  }

 private:
  bool EndsInnerSteps(uint64_t step) const {
    return step % options_.diloco.inner_steps == 0 || step == options_.trainer.steps;
  }

  bool ComputeGradients(uint64_t round) {
    std::atomic<bool> finite = true;
    std::vector<std::thread> threads;
    for (const auto& site : sites_) {
      threads.emplace_back([&finite, round, own = site.get()] {
        if (!own->ComputeGradients(round)) finite = false;
      });
    }
    for (std::thread& thread : threads) thread.join();
    return finite;
  }

  void CountTraffic(RivalResult* result) const {
    const double all = 4.0 * static_cast<double>(result->parameters);
    switch (options_.rival) {
      case Rival::kFull:
        result->bytes_per_step = all;
        result->exchanges_per_step = 1;
        break;
      case Rival::kPowerSgd:
        // The second factor can only follow the first; 1-D tensors go with either.
        result->bytes_per_step = 4.0 * static_cast<double>(power_sgd_->values_per_step());
        result->exchanges_per_step = 2;
        break;
      case Rival::kDiloco:
      case Rival::kSparseLoco:
        result->bytes_per_step = diloco_->bytes_per_round() / options_.diloco.inner_steps;
        result->exchanges_per_step = 1.0 / options_.diloco.inner_steps;
        break;
    }
  }

  const RivalOptions options_;
  const std::vector<lm::TensorSpec> tensors_;
  std::vector<std::unique_ptr<Site>> sites_;
  PerSite parameters_;
  PerSite gradients_;
  std::optional<PowerSgd> power_sgd_;
  std::optional<Diloco> diloco_;
};

}  // namespace

lm::AdamWOptions DefaultAdamW(Rival rival) {
  lm::AdamWOptions adamw = kAdamW;
  if (rival == Rival::kSparseLoco) adamw.beta2 = 0.95;
  return adamw;
}

RivalOptions DefaultRivalOptions(Rival rival) {
  RivalOptions options;
  options.rival = rival;
  options.optimizer = lm::AdamWFactory(DefaultAdamW(rival));
  if (rival == Rival::kSparseLoco) {
    options.diloco = {.inner_steps = 30, .outer_lr = 1, .outer_momentum = 0, .error_decay = 0.95f};
  }
  return options;
}

RivalResult Train(const RivalOptions& options, const lm::Text& text) {
  return Run(options, text).Train();
}

}  // namespace isthmus::rivals
