#include "tests/rivals/rivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "examples/lm/local_service.h"
#include "examples/lm/random.h"
#include "tests/rivals/compressor.h"
#include "tests/rivals/power_sgd.h"

namespace isthmus::rivals {
namespace {

using ::testing::ElementsAre;

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

// What `compressor` makes of `values`.
std::vector<float> Compressed(const Compressor& compressor, const lm::TensorSpec& tensor,
                              std::vector<float> values) {
  compressor.Compress(tensor, values.data());
  return values;
}

std::vector<float> InBins(int bits, std::vector<float> values) {
  QuantizeInBins(bits, values);
  return values;
}

// Four bins of 1.5 deviations each, from 2.25 below the mean: the third is centred on it.
TEST(QuantizeInBinsTest, AValueBecomesTheMeanOfItsBin) {
  // Deviation 2.58, so a bin is 3.87 wide: -3 and 3 are 0.77 of it away, -1 and 1 a quarter.
  EXPECT_THAT(InBins(2, {-3, -1, 1, 3}), ElementsAre(-3, 0, 0, 3));
  // Mean 1.5, deviation 3.53: 8 is 1.23 and 10 is 1.61 of a bin above, and there is but one there.
  EXPECT_THAT(InBins(2, {10, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
              ElementsAre(9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  // The same below, where there are two: 10 goes into the first and 8 into the second.
  EXPECT_THAT(InBins(2, {-10, -8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
              ElementsAre(-10, -8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(QuantizeInBinsTest, MoreBitsAreMoreBins) {
  EXPECT_THAT(InBins(4, {-3, -1, 1, 3}), ElementsAre(-3, -1, 1, 3));
}

TEST(QuantizeInBinsTest, WhatIsAlikeOrAloneStays) {
  EXPECT_THAT(InBins(2, {0.1f, 0.1f, 0.1f}), ElementsAre(0.1f, 0.1f, 0.1f));
  EXPECT_THAT(InBins(2, {7}), ElementsAre(7));
  EXPECT_TRUE(InBins(2, {}).empty());
}

TEST(RowBinsTest, EachRowHasItsOwnBins) {
  const auto compressor = MakeRowBins(2);
  EXPECT_THAT(Compressed(*compressor, Tensor({2, 4}), {-3, -1, 1, 3, 300, -100, 100, -300}),
              ElementsAre(-3, 0, 0, 3, 300, 0, 0, -300));
  EXPECT_THAT(Compressed(*compressor, Tensor({4}), {-3, -1, 1, 3}), ElementsAre(-3, 0, 0, 3));
}

TEST(RowBinsTest, AValueTakesItsBits) {
  EXPECT_DOUBLE_EQ(MakeRowBins(4)->bytes(Tensor({6, 4})), 12);
  EXPECT_DOUBLE_EQ(MakeRowBins(2)->bytes(Tensor({8})), 2);
}

TEST(SparseBlocksTest, OfEachBlockTheLargestIsSent) {
  const auto compressor = MakeSparseBlocks({.side = 2, .k = 1, .bits = 4});
  EXPECT_THAT(Compressed(*compressor, Tensor({2, 4}),
                         {1, -5, 2, 0,  //
                          3, 4, 0, -7}),
              ElementsAre(0, -5, 0, 0,  //
                          0, 0, 0, -7));
  EXPECT_THAT(Compressed(*compressor, Tensor({3, 3}),
                         {1, 2, 1,  //
                          0, 0, 3,  //
                          4, 0, 5}),
              ElementsAre(0, 2, 0,  //
                          0, 0, 3,  //
                          4, 0, 5));
  EXPECT_THAT(Compressed(*compressor, Tensor({6}), {1, 2, 3, 4, 5, 6}),
              ElementsAre(0, 0, 0, 4, 0, 6));
}

TEST(SparseBlocksTest, OfEqualOnesTheFirstIsSent) {
  const auto compressor = MakeSparseBlocks({.side = 2, .k = 2, .bits = 4});
  EXPECT_THAT(Compressed(*compressor, Tensor({4}), {0, -2, 2, 2}), ElementsAre(0, -2, 2, 0));
}

// Of -5 and -7 the deviation is 1.41 and a bin of four 2.12 wide, which takes both.
TEST(SparseBlocksTest, WhatIsKeptOfATensorSharesItsBins) {
  const auto compressor = MakeSparseBlocks({.side = 2, .k = 1, .bits = 2});
  EXPECT_THAT(Compressed(*compressor, Tensor({2, 4}), {1, -5, 2, 0, 3, 4, 0, -7}),
              ElementsAre(0, -6, 0, 0, 0, 0, 0, -6));
}

TEST(SparseBlocksTest, AValueTakesItsBitsAndThoseOfItsPlace) {
  const auto compressor = MakeSparseBlocks();
  EXPECT_DOUBLE_EQ(compressor->bytes(Tensor({128, 64})), 2 * 64 * (2 + 12) / 8.0);
  EXPECT_DOUBLE_EQ(compressor->bytes(Tensor({4097})), (64 + 1) * (2 + 12) / 8.0);
}

TEST(DilocoTest, WithAnOuterStepOfOneItAveragesParameters) {
  SiteValues parameters;
  Diloco diloco({.inner_steps = 1, .outer_lr = 1, .outer_momentum = 0}, SomeTensors(), kSites,
                parameters.pointers[0]);
  for (uint64_t round = 0; round < 3; ++round) {
    parameters.Draw(round);
    const std::vector<float> mean = parameters.Mean();
    diloco.Round(parameters.pointers);
    for (const auto& site : parameters.values) ExpectNear(site.flat(), mean, 1e-6f);
  }
}

// Every parameter of every site.
void Move(float by, SiteValues* parameters) {
  for (auto& site : parameters->values) {
    for (float& value : site.flat()) value += by;
  }
}

TEST(DilocoTest, TheOuterMomentumIsNesterovs) {
  SiteValues parameters;
  Diloco diloco({.inner_steps = 1, .outer_lr = 0.5f, .outer_momentum = 0.5f}, SomeTensors(), kSites,
                parameters.pointers[0]);
  Move(-1, &parameters);
  diloco.Round(parameters.pointers);  // gradient 1, momentum 1
  EXPECT_FLOAT_EQ(parameters.values[2].flat()[0], -0.75f);
  Move(-1, &parameters);
  diloco.Round(parameters.pointers);  // gradient 1, momentum 1.5
  EXPECT_FLOAT_EQ(parameters.values[2].flat()[0], -0.75f - 0.5f * 1.75f);
}

// Sends a quarter of everything.
class Quarter : public Compressor {
 public:
  void Compress(const lm::TensorSpec& tensor, float* values) const override {
    for (int64_t j = 0; j < tensor.size(); ++j) values[j] *= 0.25f;
  }
  double bytes(const lm::TensorSpec& tensor) const override {
    return static_cast<double>(tensor.size());
  }
};

TEST(DilocoTest, WhatIsNotSentDecaysAndIsSentLater) {
  SiteValues parameters;
  Diloco diloco({.inner_steps = 1, .outer_lr = 1, .outer_momentum = 0, .error_decay = 0.5f},
                SomeTensors(), kSites, parameters.pointers[0], std::make_unique<Quarter>());
  const float& value = parameters.values[1].flat()[3];
  Move(-8, &parameters);
  diloco.Round(parameters.pointers);  // of 8 sends 2, and 6 stay
  EXPECT_FLOAT_EQ(value, -2);
  Move(-1, &parameters);
  diloco.Round(parameters.pointers);  // of 3 + 1 sends 1, and 3 stay
  EXPECT_FLOAT_EQ(value, -3);
  diloco.Round(parameters.pointers);  // of 1.5
  EXPECT_FLOAT_EQ(value, -3.375f);
  EXPECT_DOUBLE_EQ(diloco.bytes_per_round(), 60 + 7 + 36);
}

TEST(DilocoTest, EachSiteKeepsWhatItHasNotSent) {
  SiteValues parameters;
  Diloco diloco({.inner_steps = 1, .outer_lr = 1, .outer_momentum = 0, .error_decay = 1},
                SomeTensors(), kSites, parameters.pointers[0],
                MakeSparseBlocks({.side = 16, .k = 1, .bits = 4}));
  std::vector<float> moved(parameters.values[0].flat().size());
  for (int round = 0; round < 2; ++round) {
    // The second tensor: what site s says first is at place s, and second where all are.
    for (size_t site = 0; site < kSites && round == 0; ++site) {
      parameters.values[site].flat()[60 + site] -= 3;
      parameters.values[site].flat()[66] -= 2;
    }
    diloco.Round(parameters.pointers);
  }
  for (size_t site = 0; site < kSites; ++site) moved[60 + site] = -1;
  moved[66] = -2;
  ExpectNear(parameters.values[0].flat(), moved, 1e-6f);
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
  for (const lm::OptimizerFactory& optimizer : {lm::AdamWFactory(kAdamW), lm::MuonFactory()}) {
    options.optimizer = optimizer;
    const RivalResult result = Train(options, text);
    lm::LocalService service(optimizer);
    lm::Trainer trainer(options.trainer, text, &service);
    ASSERT_TRUE(trainer.Run().ok());
    const std::vector<lm::CurvePoint> curve = lm::ValidationCurve(trainer.steps());
    ASSERT_EQ(result.validation_curve.size(), 2u);
    EXPECT_EQ(result.validation_curve[0].loss, curve[0].loss);
    EXPECT_EQ(result.validation_loss, curve[1].loss);
  }
}

// One site has nobody to average with, however rarely.
TEST(TrainTest, AveragingParametersOfOneSiteChangesNothing) {
  const lm::Text text = PatternText();
  RivalOptions full = SmallOptions(Rival::kFull);
  RivalOptions diloco = SmallOptions(Rival::kDiloco);
  full.sites = diloco.sites = 1;
  diloco.diloco = {.inner_steps = 3, .outer_lr = 1, .outer_momentum = 0};
  for (const lm::OptimizerFactory& optimizer : {lm::AdamWFactory(kAdamW), lm::MuonFactory()}) {
    full.optimizer = diloco.optimizer = optimizer;
    EXPECT_NEAR(*Train(diloco, text).validation_loss, *Train(full, text).validation_loss, 1e-3);
  }
}

// p <- p - lr g.
class PlainDescent : public lm::Optimizer {
 public:
  explicit PlainDescent(std::vector<lm::TensorSpec> tensors) : tensors_(std::move(tensors)) {}
  void Step(const lm::Rates& rates, const std::vector<float*>& parameters,
            const std::vector<float*>& gradients) override {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      for (int64_t j = 0; j < tensors_[i].size(); ++j) {
        parameters[i][j] -= rates.learning_rate[tensors_[i].parameter_group] * gradients[i][j];
      }
    }
  }

 private:
  const std::vector<lm::TensorSpec> tensors_;
};

// Where an update is linear in the gradient, the mean of updates is the update of the mean.
TEST(TrainTest, AveragingParametersAfterEveryStepOfDescentIsAveragingGradients) {
  const lm::Text text = PatternText();
  RivalOptions full = SmallOptions(Rival::kFull);
  RivalOptions diloco = SmallOptions(Rival::kDiloco);
  full.sites = diloco.sites = kSites;
  full.trainer.schedule.peak = diloco.trainer.schedule.peak = 0.5;
  full.optimizer = diloco.optimizer = [](const auto& tensors) {
    return std::make_unique<PlainDescent>(tensors);
  };
  diloco.diloco = {.inner_steps = 1, .outer_lr = 1, .outer_momentum = 0};
  const RivalResult averaged = Train(full, text), exchanged = Train(diloco, text);
  EXPECT_LT(averaged.validation_curve[1].loss, averaged.validation_curve[0].loss);
  EXPECT_NEAR(*exchanged.validation_loss, *averaged.validation_loss, 1e-4);
  EXPECT_DOUBLE_EQ(exchanged.bytes_per_step, averaged.bytes_per_step);
}

TEST(TrainTest, PowerSgdAtFullRankTrainsAsFullAveragingDoes) {
  const lm::Text text = PatternText();
  RivalOptions options = SmallOptions(Rival::kPowerSgd);
  options.power_sgd_rank = 1000;
  const RivalResult full = Train(SmallOptions(Rival::kFull), text);
  EXPECT_NEAR(*Train(options, text).validation_loss, *full.validation_loss, 1e-3);
}

TEST(TrainTest, FewBitsCostFewBytesAndLittleLoss) {
  const lm::Text text = PatternText();
  RivalOptions options = SmallOptions(Rival::kDiloco);
  options.diloco.inner_steps = 5;
  const RivalResult dense = Train(options, text);
  for (const auto& [bits, tolerance] : {std::pair(4, 0.02f), std::pair(2, 0.1f)}) {
    options.bits = bits;
    const RivalResult few = Train(options, text);
    EXPECT_DOUBLE_EQ(few.bytes_per_step, dense.bytes_per_step * bits / 32) << bits;
    EXPECT_NEAR(*few.validation_loss, *dense.validation_loss, tolerance) << bits;
  }
}

TEST(TrainTest, SparseLocoSendsFewPlacesOnceARound) {
  const lm::Text text = PatternText();
  RivalOptions options = SmallOptions(Rival::kSparseLoco);
  options.diloco = DefaultRivalOptions(Rival::kSparseLoco).diloco;
  options.diloco.inner_steps = 5;
  const RivalResult result = Train(options, text);
  EXPECT_DOUBLE_EQ(result.exchanges_per_step, 0.2);
  EXPECT_LT(result.bytes_per_step, 0.05 * static_cast<double>(result.parameters));
  EXPECT_LT(result.validation_curve[1].loss, result.validation_curve[0].loss);
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
