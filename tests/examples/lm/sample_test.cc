#include "examples/lm/sample.h"

#include "examples/lm/parameter_set.h"
#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

TEST(SampleTest, TheSameSeedWritesTheSameTextBeyondTheContext) {
  const ModelConfig config = {.width = 8, .layers = 1, .heads = 2, .context = 4};
  const ParameterSet<float> parameters = InitialParameters<float>(config, 1, 0.5);
  Model<float> model(config, 1);
  model.Bind(parameters.pointers(), {});
  const SampleOptions options = {.bytes = 20, .prompt = "longer than context", .seed = 3};
  const std::string sample = Sample(options, &model);
  EXPECT_EQ(sample.size(), 20u);
  EXPECT_EQ(sample, Sample(options, &model));
  SampleOptions other = options;
  other.seed = 4;
  EXPECT_NE(sample, Sample(other, &model));
}

TEST(SampleTest, PrintableLeavesNothingForATerminalToObey) {
  EXPECT_EQ(Printable("a\n\tb\x1b[2J\xff"), "a\n\tb\\x1b[2J\\xff");
}

}  // namespace
}  // namespace isthmus::lm
