#include "cli/rehearse/run_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "isthmus/v1/control.pb.h"

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::GetStatusReply TwoGroups(uint64_t hash_round) {
  v1::GetStatusReply status;
  status.set_state(v1::GetStatusReply::WAITING_FOR_QUORUM);
  status.set_waiting_reason("group 2 is gone");
  for (const uint32_t id : {1, 2}) {
    v1::GroupStatus* group = status.add_groups();
    group->set_group_id(id);
    group->set_state(id == 1 ? "active" : "gone");
    group->mutable_heartbeat()->set_hash_round(hash_round);
    group->mutable_heartbeat()->set_state_hash(id);
  }
  return status;
}

TEST(RunViewTest, KeepsTheReasonAndCountsReadyGroups) {
  const RunView view = MakeRunView(TwoGroups(0));
  EXPECT_EQ(view.state, "waiting for a quorum");
  EXPECT_EQ(view.reason, "group 2 is gone");
  EXPECT_TRUE(view.training);
  EXPECT_FALSE(view.ended);
  EXPECT_EQ(view.ready_groups, 1u);
  EXPECT_EQ(view.Group(2)->state_hash, 2u);
  EXPECT_EQ(view.Group(3), nullptr);
}

TEST(RunViewTest, P22HashesCountAtTheSameRoundOnly) {
  EXPECT_TRUE(AllHashed(MakeRunView(TwoGroups(300)), 2, 300));
  EXPECT_FALSE(AllHashed(MakeRunView(TwoGroups(299)), 2, 300));
  EXPECT_FALSE(AllHashed(MakeRunView(TwoGroups(300)), 3, 300));
}

TEST(JobReportTest, ReadsWhatTheJobWrites) {
  const absl::StatusOr<JobReport> report = ParseJobReport(
      R"({"parameters": 1000, "tokens_per_step": 512, "validation_loss": 2.25,
          "validation_curve": [{"step": 25, "loss": 3.5}, {"step": 50, "loss": 2.5}],
          "step_seconds": 0.5, "compute_seconds": 0.25, "communication_ratio": 0.1,
          "sample": "a\\n\\xff"})");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->parameters, 1000u);
  EXPECT_EQ(report->tokens_per_step, 512u);
  EXPECT_EQ(report->validation_loss, 2.25);
  EXPECT_THAT(report->validation_curve, ElementsAre(CurvePoint{25, 3.5}, CurvePoint{50, 2.5}));
  EXPECT_FALSE(report->unigram_entropy.has_value());
  EXPECT_EQ(report->sample, "a\n\xff");
}

TEST(JobReportTest, BearsNullsAndRefusesGarbage) {
  EXPECT_FALSE(ParseJobReport(R"({"validation_loss": null})")->validation_loss.has_value());
  EXPECT_TRUE(ParseJobReport(R"({"validation_curve": null})")->validation_curve.empty());
  // A loss that is not finite is null in JSON.
  EXPECT_THAT(ParseJobReport(R"({"validation_curve": [7, {"step": 5, "loss": null}, {"loss": 1}]})")
                  ->validation_curve,
              IsEmpty());
  EXPECT_FALSE(ParseJobReport("").ok());
  EXPECT_FALSE(ParseJobReport("{").ok());
  EXPECT_FALSE(ParseJobReport("[1]").ok());
}

}  // namespace
}  // namespace isthmus
