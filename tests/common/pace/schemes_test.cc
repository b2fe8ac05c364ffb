#include "common/pace/schemes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/pace/pacer.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string ErrorOf(const std::string& text) {
  return std::string(ParseSchemes(text).status().message());
}

TEST(SchemesTest, AreOnesThatARunCanHave) {
  for (const KnownScheme& scheme : KnownSchemes()) {
    EXPECT_TRUE(Validate(scheme.run).ok()) << scheme.name << ": " << Validate(scheme.run);
    EXPECT_GT(scheme.steps, 0.1) << scheme.name;
  }
}

TEST(SchemesTest, AFileSaysStepsASchemeAndWhatIsOtherThanItsDefaults) {
  const auto schemes = ParseSchemes(
      "# steps to 2.4\n1 full\n\n1.17\tflexdemo k=2 # as by default\n 0.61 local every=8 "
      "values=1bit\n");
  ASSERT_TRUE(schemes.ok()) << schemes.status();
  ASSERT_THAT(*schemes, SizeIs(3));
  EXPECT_EQ((*schemes)[0].run, DefaultRunSpec(Scheme::kFull));
  EXPECT_EQ((*schemes)[1].run, DefaultRunSpec(Scheme::kFlexDemo));
  EXPECT_EQ((*schemes)[1].steps, 1.17);
  EXPECT_EQ((*schemes)[1].name, "flexdemo k=2");
  EXPECT_EQ((*schemes)[2].run.format.every.steps, 8u);
  EXPECT_EQ((*schemes)[2].run.format.all.values, ValueFormat::kOneBit);
}

TEST(SchemesTest, SaysWhichLineOfAFileCannotBe) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("expected a line as '1.17 flexdemo k=2'"));
  EXPECT_THAT(ErrorOf("many full"),
              HasSubstr("line 1: expected steps from 0.01 to 1000, got 'many'"));
  EXPECT_THAT(ErrorOf("nan full"), HasSubstr("got 'nan'"));
  EXPECT_THAT(ErrorOf("0 full"), HasSubstr("got '0'"));
  EXPECT_THAT(ErrorOf("\n1"), HasSubstr("line 2: expected a scheme behind the steps"));
  EXPECT_THAT(ErrorOf("1 best"), HasSubstr("line 1: scheme"));
  EXPECT_THAT(ErrorOf("1 flexdemo k"), HasSubstr("got 'k'"));
  EXPECT_THAT(ErrorOf("1 flexdemo scheme=full"), HasSubstr("got 'scheme=full'"));
  EXPECT_THAT(ErrorOf("1 flexdemo k=99"),
              HasSubstr("line 1: run spec: k: expected 1 to chunk_size 64"));
  std::string many;
  for (int i = 0; i <= 32; ++i) many += "1 full\n";
  EXPECT_THAT(ErrorOf(many), HasSubstr("line 33: expected at most 32 schemes"));
}

// In whatever order a file has them.
TEST(SchemesTest, APaceChoosesBetweenThoseOfAFile) {
  const auto schemes = ParseSchemes("2 flexdemo k=1\n1.5 flexdemo k=8\n1 full\n");
  ASSERT_TRUE(schemes.ok());
  const std::vector<Plan> plans = PlansOf(DefaultRunSpec(Scheme::kFlexDemo), *schemes);
  ASSERT_THAT(plans, SizeIs(3)) << "two, and one of both";
  EXPECT_EQ(plans[0].format.all.k, 8u);
  EXPECT_EQ(plans[0].steps, 1.5);
  EXPECT_EQ(plans[1].format.all.k, 1u);
  EXPECT_TRUE(plans[2].less.has_value());
  EXPECT_FALSE(CheckPaced(DefaultRunSpec(Scheme::kLocal), *schemes).ok());
}

TEST(SchemesTest, FiguresOfTheRunsOwnValuesCount) {
  const auto schemes = ParseSchemes(
      "1.1 flexdemo k=1 values=f32\n1.4 flexdemo k=1\n1.3 flexdemo k=1\n1.2 flexdemo k=2\n");
  ASSERT_TRUE(schemes.ok());
  const std::vector<Plan> plans = PlansOf(DefaultRunSpec(Scheme::kFlexDemo), *schemes);
  ASSERT_THAT(plans, SizeIs(3));
  EXPECT_EQ(plans[1].format.all.k, 1u);
  EXPECT_EQ(plans[1].steps, 1.4) << "the first one said";
}

TEST(SchemesTest, LocalStepsAreInOrderWhateverTheFilesOrder) {
  const auto schemes = ParseSchemes("0.8 local every=30\n0.5 local every=4\n0.6 local every=8\n");
  ASSERT_TRUE(schemes.ok());
  uint32_t before = 0;
  const std::vector<Plan> plans = PlansOf(DefaultRunSpec(Scheme::kLocal), *schemes);
  for (const Plan& plan : plans) {
    EXPECT_GT(plan.format.every.steps, before);
    before = plan.format.every.steps;
  }
  EXPECT_EQ(plans.front().format.every.steps, 4u);
  EXPECT_EQ(before, 30u);
}

}  // namespace
}  // namespace isthmus
