// Rules of docs/protocol.md that need numbers; testdata/ has the stories.
#include "server/core/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/printable.h"

namespace isthmus {
namespace {

constexpr uint32_t kChunks = 64;  // per bucket

class CoordinatorTest : public testing::Test {
 protected:
  static Layout SmallLayout(uint32_t parameter_groups) {
    std::vector<TensorSpec> tensors;
    for (uint32_t p = 0; p < parameter_groups; ++p) {
      tensors.push_back({std::string(1, static_cast<char>('a' + p)), {64}, DType::kFloat32, p});
    }
    return *Layout::Create(tensors, {});
  }

  // A coordinator that has not started. Its run has one bucket.
  void Make(CoordinatorConfig config) {
    config.run.format.chunk_size = kUnitLength / kChunks;
    config.run.bucket_length = kUnitLength;
    core_ = std::make_unique<Coordinator>(config);
  }

  // Registered, ready, and connected by the stream of the same number.
  void AddGroup(GroupId group, const Layout& layout) {
    Coordinator::RegisterArgs args;
    args.group = group;
    args.nonce = group.value();
    ASSERT_TRUE(core_->Register(args, now_, out_).ok());
    const Member member{group, Incarnation(1)};
    ASSERT_TRUE(core_->Ready(member, 1, layout, now_, out_).ok());
    const Coordinator::Hello hello{member, core_->config().instance, Sequence(0)};
    ASSERT_TRUE(core_->StreamOpened(StreamId(group.value()), hello, Sequence(1), now_, out_).ok());
  }

  // Round 1 is open for groups 1 to `groups`.
  void Start(CoordinatorConfig config, uint32_t groups, uint32_t parameter_groups = 1) {
    config.run.start_groups = groups;
    Make(config);
    for (uint32_t g = 1; g <= groups; ++g) AddGroup(GroupId(g), SmallLayout(parameter_groups));
    for (uint32_t g = 2; g <= groups; ++g) {
      const TransferId transfer(g - 1);
      ASSERT_TRUE(
          core_->CaughtUp(StreamId(g), transfer, Sequence(0), Sequence(1), now_, out_).ok());
    }
    ASSERT_EQ(core_->open_round(), Round(1));
    out_.clear();
  }

  ContributionInfo Info(std::vector<float> lr, std::vector<float> weight_decay) const {
    return {Round(core_->open_round().value() - 1), 1, 0.5f, std::move(lr),
            std::move(weight_decay)};
  }

  absl::StatusOr<Coordinator::PartFate> Part(uint32_t group, const ContributionInfo& info,
                                             ChunkRun chunks = {0, kChunks}) {
    return core_->PartArrived(StreamId(group), core_->open_round(), BucketIndex(0), chunks, info,
                              now_, out_);
  }

  // The update that was just decided; it goes into the log.
  UpdateHeader Update() {
    UpdateHeader update;
    for (const Action& action : out_) {
      if (const auto* merge = std::get_if<MergeBucket>(&action)) update = merge->update;
    }
    EXPECT_NE(update.sequence, Sequence(0)) << "nothing was committed";
    out_.clear();
    core_->Merged(update.sequence, now_, out_);
    core_->Appended(update.sequence, now_, out_);
    return update;
  }

  absl::Time now_ = absl::UnixEpoch();
  std::unique_ptr<Coordinator> core_;
  Actions out_;
};

TEST_F(CoordinatorTest, P11_ScalarsAreTheLowestGroups) {
  Start({}, 2, 2);
  ASSERT_TRUE(Part(2, Info({0.3f, 0.4f}, {0.0f, 0.0f})).ok());
  ASSERT_TRUE(Part(1, Info({0.1f, 0.2f}, {0.01f, 0.05f})).ok());
  const UpdateHeader update = Update();
  ASSERT_EQ(update.scalars.size(), 2u);
  EXPECT_EQ(update.scalars[0].lr, 0.1f);
  EXPECT_EQ(update.scalars[1].lr, 0.2f);
  // In double, rounded once.
  EXPECT_EQ(update.scalars[0].decay, static_cast<float>(1.0 - double{0.1f} * double{0.01f}));
  EXPECT_EQ(update.scalars[1].decay, static_cast<float>(1.0 - double{0.2f} * double{0.05f}));
  EXPECT_EQ(core_->counters().scalar_mismatches, 1u);
}

TEST_F(CoordinatorTest, P11_AdamsBiasCorrectionsCountTheBucketsCommits) {
  CoordinatorConfig config;
  config.run.optimizer.kind = OptimizerKind::kAdamW;
  Start(config, 1);
  uint32_t commits = 0;
  for (uint32_t round = 1; round <= 5; ++round) {
    if (round == 3) {  // an update without contributors is not applied, so it does not count
      ASSERT_TRUE(core_
                      ->Abstained(StreamId(1), Round(3), BucketIndex(0), AbstainReason::kNonFinite,
                                  now_, out_)
                      .ok());
      EXPECT_TRUE(Update().contributors.empty());
      continue;
    }
    ASSERT_TRUE(Part(1, Info({0.1f}, {0.0f})).ok());
    const UpdateHeader update = Update();
    ++commits;
    const OptimizerSpec& adam = config.run.optimizer;
    EXPECT_EQ(update.bias1, static_cast<float>(1.0 - std::pow(double{adam.beta1}, commits)));
    EXPECT_EQ(update.bias2_sqrt,
              static_cast<float>(std::sqrt(1.0 - std::pow(double{adam.beta2}, commits))));
    EXPECT_EQ(update.first, commits == 1);
  }
}

TEST_F(CoordinatorTest, P11_TotalsAreTheMostStepsAndAllSamples) {
  Start({}, 2);
  const auto contribute = [&](uint32_t group, uint64_t steps, uint64_t samples) {
    ContributionInfo info = Info({0.1f}, {0.0f});
    info.steps = steps;
    info.samples = samples;
    return Part(group, info).status();
  };
  ASSERT_TRUE(contribute(1, 30, 240).ok());
  ASSERT_TRUE(contribute(2, 10, 80).ok());
  EXPECT_EQ(Update().totals, (RunTotals{30, 320}));
  for (const uint32_t group : {1u, 2u}) {
    ASSERT_TRUE(core_
                    ->Abstained(StreamId(group), Round(2), BucketIndex(0), AbstainReason::kSkipped,
                                now_, out_)
                    .ok());
  }
  EXPECT_EQ(Update().totals, (RunTotals{30, 320})) << "nothing came of it";
  ASSERT_TRUE(contribute(2, 7, 0).ok());
  ASSERT_TRUE(contribute(1, 8, uint64_t{1} << 53).ok());
  EXPECT_EQ(Update().totals, (RunTotals{38, RunTotals::kMost})) << "counted no further";
  EXPECT_EQ(core_->totals(), (RunTotals{38, RunTotals::kMost}));
  const absl::Status status = contribute(1, (uint64_t{1} << 32) + 1, 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "steps: expected at most 2^32, got 4294967297");
}

// A commit that was decided, but did not come into the log, never was: it is decided and counted
// anew.
TEST_F(CoordinatorTest, P11_AdamsCountGoesOnAfterARestart) {
  CoordinatorConfig config;
  config.run.optimizer.kind = OptimizerKind::kAdamW;
  Start(config, 1);
  for (uint32_t commits = 1; commits <= 3; ++commits) {
    ASSERT_TRUE(Part(1, Info({0.1f}, {0.0f})).ok());  // decided
    auto restored = Coordinator::Restore(core_->config(), core_->Save(), now_);
    ASSERT_TRUE(restored.ok()) << restored.status();
    core_ = std::make_unique<Coordinator>(*std::move(restored));
    const Coordinator::Hello hello{
        {GroupId(1), Incarnation(1)}, core_->config().instance, core_->last_sequence()};
    ASSERT_TRUE(core_->StreamOpened(StreamId(1), hello, Sequence(1), now_, out_).ok());
    out_.clear();
    ASSERT_TRUE(Part(1, Info({0.1f}, {0.0f})).ok());
    const UpdateHeader update = Update();
    EXPECT_EQ(update.sequence, Sequence(commits));
    EXPECT_EQ(update.first, commits == 1);
    EXPECT_EQ(update.bias1,
              static_cast<float>(1.0 - std::pow(double{config.run.optimizer.beta1}, commits)));
    EXPECT_EQ(core_->counters().contributions_merged, commits);
  }
}

TEST_F(CoordinatorTest, P10_ContributorsAscendByGroupWhateverTheOrderOfArrival) {
  Start({}, 3);
  for (uint32_t group : {3, 1, 2}) ASSERT_TRUE(Part(group, Info({0.1f}, {0.0f})).ok());
  const UpdateHeader update = Update();
  ASSERT_EQ(update.contributors.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(update.contributors[i].group, GroupId(i + 1));
}

TEST_F(CoordinatorTest, SamplesAndLossTravelPerContributor) {
  Start({}, 2);
  ContributionInfo info = Info({0.1f}, {0.0f});
  info.samples = 32;
  info.loss = 4.0f;
  ASSERT_TRUE(Part(1, info).ok());
  info.samples = 16;
  info.loss = 2.0f;
  ASSERT_TRUE(Part(2, info).ok());
  const UpdateHeader update = Update();
  EXPECT_EQ(update.contributors[0], (Contributor{GroupId(1), Incarnation(1), 32, 4.0f}));
  EXPECT_EQ(update.contributors[1], (Contributor{GroupId(2), Incarnation(1), 16, 2.0f}));
  EXPECT_FLOAT_EQ(core_->last_loss(), 10.0f / 3);  // weighed by samples
}

TEST_F(CoordinatorTest, OneLearningRatePerParameterGroup) {
  Start({}, 1, 2);
  EXPECT_EQ(Part(1, Info({0.1f}, {0.0f, 0.0f})).status().message(),
            "lr: expected one per parameter group (2), got 1");
  EXPECT_EQ(Part(1, Info({0.1f, 0.1f}, {0.0f, 0.0f, 0.0f})).status().message(),
            "weight_decay: expected one per parameter group (2), got 3");
}

TEST_F(CoordinatorTest, BucketChunksNeedsALayout) {
  Coordinator core{CoordinatorConfig()};
  EXPECT_EQ(core.BucketChunks(Round(1), BucketIndex(0)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  Start({}, 1);
  EXPECT_EQ(*core_->BucketChunks(Round(1), BucketIndex(0)), (ChunkRun{0, kChunks}));
  EXPECT_EQ(core_->BucketChunks(Round(1), BucketIndex(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(CoordinatorTest, RefusesALabelThatIsTooLong) {
  Start({}, 1);
  Coordinator::RegisterArgs args;
  args.group = GroupId(2);
  args.nonce = 2;
  args.label = std::string(65, 'x');
  EXPECT_EQ(core_->Register(args, now_, out_).status().message(),
            "label: expected at most 64 bytes, got 65");
}

TEST_F(CoordinatorTest, RefusesALabelThatATerminalWouldObey) {
  Start({}, 1);
  Coordinator::RegisterArgs args;
  args.group = GroupId(2);
  args.nonce = 2;
  for (const char* label : {"a\x1b[2J", "a\n", "a\xff", "\xe2\x80\xae"}) {
    args.label = label;
    const absl::Status refused = core_->Register(args, now_, out_).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << label;
    EXPECT_EQ(refused.message(),
              "label: expected text without control characters, got '" + Printable(label) + "'");
  }
  EXPECT_TRUE(out_.empty());
  args.label = "Zürich";
  EXPECT_TRUE(core_->Register(args, now_, out_).ok());
}

// --- known bugs: enable each with its fix -------------------------------------------------------

// PartArrived keeps an empty contribution with what came with the refused part.
TEST_F(CoordinatorTest, ARefusedPartLeavesNothingBehind) {
  Start({}, 1);
  EXPECT_FALSE(Part(1, Info({0.1f}, {0.0f}), {0, kChunks + 1}).ok());
  ASSERT_TRUE(Part(1, Info({0.2f}, {0.0f})).ok());
  EXPECT_EQ(Update().scalars[0].lr, 0.2f);
}

// Once a deadline has passed below min_groups, NextWakeup stays in the past, and whoever sleeps
// until then never sleeps again.
TEST_F(CoordinatorTest, AfterATickTheNextWakeupLiesAhead) {
  CoordinatorConfig config;
  config.run.min_groups = 2;
  Start(config, 2);
  core_->StreamClosed(StreamId(2), "cut", now_, out_);
  ASSERT_TRUE(Part(1, Info({0.1f}, {0.0f})).ok());
  for (int i = 0; i < 10; ++i) {
    now_ = std::max(now_, std::min(core_->NextWakeup(), now_ + absl::Hours(1)));
    core_->Tick(now_, out_);
    ASSERT_GT(core_->NextWakeup(), now_);
  }
}

// NotReady takes the donor's word back before round 1, but lets its running snapshot go on: group 2
// then gives its own parameters to group 3 and gets those of group 1 itself.
TEST_F(CoordinatorTest, P15_NobodyGivesASnapshotWhileGettingOne) {
  CoordinatorConfig config;
  config.run.start_groups = 2;
  Make(config);
  AddGroup(GroupId(1), SmallLayout(1));
  AddGroup(GroupId(2), SmallLayout(1));
  ASSERT_TRUE(core_->NotReady({GroupId(1), Incarnation(1)}, 2, "job lost", now_, out_).ok());
  AddGroup(GroupId(3), SmallLayout(1));
  std::map<TransferId, StartTransfer> running;
  for (const Action& action : out_) {
    if (const auto* start = std::get_if<StartTransfer>(&action)) running[start->transfer] = *start;
    if (const auto* abort = std::get_if<AbortTransfer>(&action)) running.erase(abort->transfer);
  }
  for (const auto& [id, a] : running) {
    for (const auto& [other, b] : running) {
      EXPECT_NE(a.donor, b.joiner) << "snapshots " << id.value() << " and " << other.value();
    }
  }
}

// Start was sent into a stream that broke, and the group comes back beyond the log: it gets a
// snapshot but no Start, and its job waits for ever.
TEST_F(CoordinatorTest, StartIsRepeatedAfterASnapshotToo) {
  Start({}, 2);
  core_->StreamClosed(StreamId(2), "cut", now_, out_);
  now_ += absl::Seconds(5);
  core_->Tick(now_, out_);
  ASSERT_TRUE(Part(1, Info({0.1f}, {0.0f})).ok());
  Update();
  const Coordinator::Hello hello{{GroupId(2), Incarnation(1)}, 1, Sequence(0)};
  ASSERT_TRUE(core_->StreamOpened(StreamId(9), hello, Sequence(2), now_, out_).ok());
  ASSERT_TRUE(
      core_->CaughtUp(StreamId(9), TransferId(2), Sequence(1), Sequence(2), now_, out_).ok());
  bool started = false;
  for (const Action& action : out_) {
    const auto* start = std::get_if<SendStart>(&action);
    started |= start != nullptr && start->stream == StreamId(9);
  }
  EXPECT_TRUE(started);
}

// The words are wrong while a group without a job is giving a snapshot.
TEST_F(CoordinatorTest, ADonorWithoutAJobIsADonor) {
  Start({}, 1);
  ASSERT_TRUE(core_->NotReady({GroupId(1), Incarnation(1)}, 2, "job lost", now_, out_).ok());
  AddGroup(GroupId(2), SmallLayout(1));
  EXPECT_EQ(core_->WaitingReason(now_).find("no group in sync"), std::string::npos);
}

}  // namespace
}  // namespace isthmus
