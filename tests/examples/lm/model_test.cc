#include "examples/lm/model.h"

#include <cmath>
#include <string>

#include "examples/lm/parameter_set.h"
#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

constexpr ModelConfig kTiny = {.width = 8, .layers = 2, .heads = 2, .context = 5};

constexpr char kText[] = "the quick brown fox jumps over the lazy dog";

Batch TinyBatch(int count, int length) {
  Batch batch;
  FillRandom(kText, {.seed = 3, .group_index = 0, .rank = 0, .round = 0}, count, length, &batch);
  return batch;
}

// Far from the usual start, where many gradients are nearly zero and would hide mistakes.
template <typename T>
ParameterSet<T> RoughParameters(const ModelConfig& config) {
  ParameterSet<T> parameters = InitialParameters<T>(config, /*seed=*/7, /*deviation=*/0.4);
  const CounterRng rng({11});
  for (size_t i = 0; i < parameters.flat().size(); ++i) {
    parameters.flat()[i] += static_cast<T>(0.1 * rng.Normal(i));
  }
  return parameters;
}

// Every gradient of every tensor against central differences, in double. `length` may be less than
// the context, whose unused positions then have gradient zero.
void CheckGradients(const ModelConfig& config, int count, int length) {
  const std::vector<TensorSpec> tensors = ModelTensors(config);
  ParameterSet<double> parameters = RoughParameters<double>(config);
  ParameterSet<double> gradients(tensors);
  Model<double> model(config, count);
  model.Bind(parameters.pointers(), gradients.pointers());
  const Batch batch = TinyBatch(count, length);
  model.Forward(batch);
  // Backward overwrites: what was there must not matter.
  gradients.flat().assign(gradients.flat().size(), 123.0);
  model.Backward(batch);

  constexpr double kStep = 1e-5;
  for (size_t tensor = 0; tensor < tensors.size(); ++tensor) {
    for (int64_t i = 0; i < tensors[tensor].size(); ++i) {
      double& value = parameters.pointers()[tensor][i];
      const double saved = value;
      value = saved + kStep;
      const double above = model.Forward(batch);
      value = saved - kStep;
      const double below = model.Forward(batch);
      value = saved;
      ASSERT_NEAR(gradients.pointers()[tensor][i], (above - below) / (2 * kStep), 2e-8)
          << tensors[tensor].name << "[" << i << "]";
    }
  }
}

TEST(ModelTest, GradientsOfEveryTensorMatchFiniteDifferences) { CheckGradients(kTiny, 2, 5); }

TEST(ModelTest, GradientsMatchOnSequencesShorterThanTheContext) { CheckGradients(kTiny, 1, 3); }

TEST(ModelTest, GradientsMatchWithOneHead) {
  CheckGradients({.width = 6, .layers = 1, .heads = 1, .context = 4}, 2, 4);
}

TEST(ModelTest, FloatAgreesWithDouble) {
  const ModelConfig config = {.width = 32, .layers = 2, .heads = 4, .context = 20};
  const std::vector<TensorSpec> tensors = ModelTensors(config);
  ParameterSet<float> single = RoughParameters<float>(config);
  ParameterSet<double> twice(tensors);
  twice.flat().assign(single.flat().begin(), single.flat().end());
  ParameterSet<float> single_gradients(tensors);
  ParameterSet<double> double_gradients(tensors);
  Model<float> single_model(config, 3);
  Model<double> double_model(config, 3);
  single_model.Bind(single.pointers(), single_gradients.pointers());
  double_model.Bind(twice.pointers(), double_gradients.pointers());
  const Batch batch = TinyBatch(3, 20);
  EXPECT_NEAR(single_model.Forward(batch), double_model.Forward(batch), 1e-5);
  single_model.Backward(batch);
  double_model.Backward(batch);
  for (size_t i = 0; i < single.flat().size(); ++i) {
    ASSERT_NEAR(single_gradients.flat()[i], double_gradients.flat()[i], 1e-5) << i;
  }
}

TEST(ModelTest, StartsNearTheUniformDistribution) {
  const ModelConfig config;
  ParameterSet<float> parameters = InitialParameters<float>(config, 1);
  Model<float> model(config, 2);
  model.Bind(parameters.pointers(), {});
  EXPECT_NEAR(model.Forward(TinyBatch(2, 40)), std::log(256.0), 0.5);
}

TEST(ModelTest, NoPositionSeesWhatFollowsIt) {
  ParameterSet<float> parameters = RoughParameters<float>(kTiny);
  Model<float> model(kTiny, 1);
  model.Bind(parameters.pointers(), {});
  // The mean loss over two bytes, from the logits after each prefix alone.
  const std::string text = "dog";
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  double expected = 0;
  for (size_t length = 1; length <= 2; ++length) {
    const float* logits = model.NextLogits({bytes, length});
    double sum = 0;
    for (int i = 0; i < kSymbols; ++i) sum += std::exp(logits[i]);
    expected += (std::log(sum) - logits[bytes[length]]) / 2;
  }
  Batch batch;
  batch.Resize(1, 2);
  batch.Set(0, text, 0);
  EXPECT_NEAR(model.Forward(batch), expected, 1e-5);
}

TEST(TensorsTest, DefaultHasAboutAMillionParameters) {
  EXPECT_EQ(TotalSize(ModelTensors({})), 1032576);
}

TEST(TensorsTest, OnlyMatricesDecay) {
  for (const TensorSpec& tensor : ModelTensors({})) {
    const bool is_matrix = tensor.name.ends_with(".weight");
    EXPECT_EQ(tensor.parameter_group, is_matrix ? kDecayedGroup : kUndecayedGroup) << tensor.name;
  }
}

TEST(TensorsTest, RefusesHeadsThatDoNotDivideTheWidth) {
  EXPECT_TRUE(Validate({}).ok());
  EXPECT_FALSE(Validate({.width = 10, .heads = 4}).ok());
  EXPECT_FALSE(Validate({.layers = 0}).ok());
}

}  // namespace
}  // namespace isthmus::lm
