#include "examples/lm/report.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace isthmus::lm {
namespace {

TEST(ReportTest, IsJsonWhateverTheSamplesBytes) {
  Report report;
  report.steps = 3;
  report.tokens_per_step = 512;
  report.validation_loss = 2.5f;
  report.sample = "\xff\n\"quoted\"\x01";
  const nlohmann::json json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["tokens_total"], 1536);
  EXPECT_EQ(json["validation_loss"], 2.5);
  EXPECT_EQ(json["sample"], "\\xff\\n\\\"quoted\\\"\\x01");
}

TEST(ReportTest, HasTheValidationCurve) {
  Report report;
  EXPECT_EQ(nlohmann::json::parse(ToJson(report))["validation_curve"], nlohmann::json::array());
  report.validation_curve = {{25, 3.5f}, {50, 2.5f}};
  const nlohmann::json json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["validation_curve"].size(), 2u);
  EXPECT_EQ(json["validation_curve"][1]["step"], 50);
  EXPECT_EQ(json["validation_curve"][1]["loss"], 2.5);
}

TEST(ReportTest, AStoppedJobHasNoValidationLoss) {
  EXPECT_TRUE(nlohmann::json::parse(ToJson(Report{}))["validation_loss"].is_null());
}

}  // namespace
}  // namespace isthmus::lm
