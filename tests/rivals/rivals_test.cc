#include "tests/rivals/rivals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "examples/lm/local_service.h"
#include "examples/lm/random.h"
#include "tests/rivals/power_sgd.h"

namespace isthmus::rivals {
namespace {

constexpr int kSites = 3;

lm::TensorSpec Tensor(std::vector<int64_t> shape) {
  return {.name = "t",
          .shape = std::move(shape),
          .parameter_group = 0,
          .initialisation = lm::Initialisation::kZero};
}

const std::vector<lm::TensorSpec>& SomeTensors() {
  static const std::vector<lm::TensorSpec> tensors = {Tensor({12, 5}), Tensor({7}), Tensor({4, 9})};
  return tensors;
}

// The same tensors at kSites sites, with memory.
struct SiteValues {
  SiteValues() {
    for (int site = 0; site < kSites; ++site) {
      values.emplace_back(SomeTensors());
      pointers.push_back(values.back().pointers());
    }
  }
  void Draw(uint64_t key) {
    for (size_t site = 0; site < values.size(); ++site) {
      const lm::CounterRng rng({key, site});
      std::vector<float>& flat = values[site].flat();
      for (size_t j = 0; j < flat.size(); ++j) flat[j] = static_cast<float>(rng.Normal(j));
    }
  }
  std::vector<float> Mean() const {
    std::vector<float> mean(values[0].flat().size());
    for (const auto& site : values) {
      for (size_t j = 0; j < mean.size(); ++j) mean[j] += site.flat()[j] / kSites;
    }
    return mean;
  }

  std::vector<lm::ParameterSet<float>> values;
  PerSite pointers;
};

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                float tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t j = 0; j < actual.size(); ++j) EXPECT_NEAR(actual[j], expected[j], tolerance) << j;
}

TEST(PowerSgdTest, AtFullRankItAverages) {
  PowerSgd power_sgd(SomeTensors(), kSites, /*rank=*/16, /*seed=*/1);
  SiteValues gradients;
  for (uint64_t step = 0; step < 4; ++step) {
    gradients.Draw(step);
    const std::vector<float> mean = gradients.Mean();
    power_sgd.Average(gradients.pointers);
    for (const auto& site : gradients.values) ExpectNear(site.flat(), mean, 1e-4f);
  }
}

TEST(PowerSgdTest, WhatALowRankLeavesOutComesLater) {
  PowerSgd power_sgd(SomeTensors(), kSites, /*rank=*/1, /*seed=*/1);
  constexpr int kSteps = 400;
  SiteValues gradients;
  gradients.Draw(7);
  const std::vector<float> mean = gradients.Mean();
  std::vector<float> applied(mean.size());
  for (int step = 0; step < kSteps; ++step) {
    gradients.Draw(7);
    power_sgd.Average(gradients.pointers);
    for (size_t j = 0; j < applied.size(); ++j)
      applied[j] += gradients.values[0].flat()[j] / kSteps;
  }
  ExpectNear(applied, mean, 0.05f);
}

TEST(PowerSgdTest, SendsTwoFactorsAndWhatHasOneDimension) {
  EXPECT_EQ(PowerSgd(SomeTensors(), kSites, /*rank=*/2, /*seed=*/1).values_per_step(),
            2 * (12 + 5) + 7 + 2 * (4 + 9));
}

TEST(DilocoTest, WithAnOuterStepOfOneItAveragesParameters) {
  SiteValues parameters;
  Diloco diloco({.inner_steps = 1, .outer_lr = 1, .outer_momentum = 0}, SomeTensors(),
                parameters.pointers[0]);
  for (uint64_t round = 0; round < 3; ++round) {
    parameters.Draw(round);
    const std::vector<float> mean = parameters.Mean();
    diloco.Round(parameters.pointers);
    for (const auto& site : parameters.values) ExpectNear(site.flat(), mean, 1e-6f);
  }
}

TEST(DilocoTest, TheOuterMomentumIsNesterovs) {
  SiteValues parameters;
  Diloco diloco({.inner_steps = 1, .outer_lr = 0.5f, .outer_momentum = 0.5f}, SomeTensors(),
                parameters.pointers[0]);
  const auto move = [&parameters] {
    for (auto& site : parameters.values) {
      for (float& value : site.flat()) value -= 1;
    }
  };
  move();
  diloco.Round(parameters.pointers);  // gradient 1, momentum 1
  EXPECT_FLOAT_EQ(parameters.values[2].flat()[0], -0.75f);
  move();
  diloco.Round(parameters.pointers);  // gradient 1, momentum 1.5
  EXPECT_FLOAT_EQ(parameters.values[2].flat()[0], -0.75f - 0.5f * 1.75f);
}

lm::Text PatternText() {
  std::string file;
  while (file.size() < 4000) file += "abcdefgh ijklmnop, ";
  lm::Text text;
  text.Append(file);
  return text;
}

RivalOptions SmallOptions(Rival rival) {
  RivalOptions options;
  options.rival = rival;
  options.trainer.model = {.width = 32, .layers = 2, .heads = 2, .context = 32};
  options.trainer.batch = 4;
  options.trainer.steps = 10;
  options.trainer.validate_every = 5;
  options.trainer.schedule.peak = 1e-2;
  options.trainer.schedule.warmup = 5;
  options.trainer.log_every = 0;
  return options;
}

TEST(TrainTest, OneSiteWithOneRankIsTheTrainerAlone) {
  const lm::Text text = PatternText();
  RivalOptions options = SmallOptions(Rival::kFull);
  options.sites = options.ranks = 1;
  const RivalResult result = Train(options, text);
  lm::LocalService service(lm::AdamWFactory({.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}));
  lm::Trainer trainer(options.trainer, text, &service);
  ASSERT_TRUE(trainer.Run().ok());
  const std::vector<lm::CurvePoint> curve = lm::ValidationCurve(trainer.steps());
  ASSERT_EQ(result.validation_curve.size(), 2u);
  EXPECT_EQ(result.validation_curve[0].loss, curve[0].loss);
  EXPECT_EQ(result.validation_loss, curve[1].loss);
}

TEST(TrainTest, PowerSgdAtFullRankTrainsAsFullAveragingDoes) {
  const lm::Text text = PatternText();
  RivalOptions options = SmallOptions(Rival::kPowerSgd);
  options.power_sgd_rank = 1000;
  const RivalResult full = Train(SmallOptions(Rival::kFull), text);
  EXPECT_NEAR(*Train(options, text).validation_loss, *full.validation_loss, 1e-3);
}

TEST(TrainTest, DilocoSendsItsParametersOnceARound) {
  const lm::Text text = PatternText();
  RivalOptions options = SmallOptions(Rival::kDiloco);
  options.diloco.inner_steps = 5;
  const RivalResult result = Train(options, text);
  EXPECT_DOUBLE_EQ(result.bytes_per_step, 4.0 * static_cast<double>(result.parameters) / 5);
  EXPECT_DOUBLE_EQ(result.exchanges_per_step, 0.2);
  EXPECT_LT(result.validation_curve[1].loss, result.validation_curve[0].loss);
}

}  // namespace
}  // namespace isthmus::rivals
