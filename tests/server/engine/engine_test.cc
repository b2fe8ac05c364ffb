// The engine with groups on threads of their own; run under ThreadSanitizer, too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/engine/groups_at_engine.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

TEST(EngineTest, GroupsOnThreadsOfTheirOwnGetEveryUpdateInSequence) {
  constexpr uint64_t kRounds = 20;
  GroupsAtEngine at(4, 3);
  std::atomic<uint64_t> refused{0};
  std::vector<std::thread> threads;
  for (uint32_t g = 0; g < at.groups(); ++g) {
    threads.emplace_back([&, g] {
      for (uint64_t round = 1; round <= kRounds; ++round) {
        for (uint32_t b = 0; b < at.buckets(); ++b) {
          at.Send(g, round, b, at.Payload(round, b), [&](const absl::Status& status) {
            if (!status.ok()) ++refused;
          });
        }
        while (at.stream(g).updates() < round * at.buckets()) std::this_thread::yield();
        (void)at.engine().Status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 0u);
  const StatusView view = at.engine().Status();
  EXPECT_EQ(view.counters.rounds_committed, kRounds);
  EXPECT_EQ(view.counters.contributions_merged, kRounds * 3 * 4);
  EXPECT_EQ(view.sequence, Sequence(kRounds * 3));
  ASSERT_EQ(view.groups.size(), 4u);
  for (const GroupView& group : view.groups) {
    EXPECT_STREQ(group.state, "active");
    EXPECT_GT(group.bytes_up, 0u);
    EXPECT_GT(group.bytes_down, 0u);
    EXPECT_TRUE(group.since_heard.has_value());
    EXPECT_EQ(group.contributions_merged, kRounds * 3);
    EXPECT_EQ(group.contributions_late, 0u);
  }
}

TEST(EngineTest, WhatHappenedIsNumberedAndKept) {
  GroupsAtEngine at(2, 1);
  const StatusView view = at.engine().Status();
  std::vector<std::string> kinds;
  uint64_t number = 0;
  for (const PastEvent& past : view.events) {
    EXPECT_EQ(past.number, ++number);
    EXPECT_LE(past.at, view.now);
    kinds.push_back(EventKind(past.event));
  }
  EXPECT_EQ(kinds, (std::vector<std::string>{"joined", "job_ready", "joined", "job_ready",
                                             "donor_chosen"}));
  EXPECT_FALSE(at.engine().Register({.versions = {9, 9}, .group = GroupId(7), .nonce = 1}).ok());
  const StatusView after = at.engine().Status();
  ASSERT_EQ(after.events.size(), 6u);
  EXPECT_THAT(EventText(after.events.back().event),
              HasSubstr("group 7 refused: protocol versions"));
}

TEST(EngineTest, TheHistoryIsBounded) {
  GroupsAtEngine at(1, 1);
  for (int i = 0; i < 600; ++i) {
    (void)at.engine().Register({.versions = {9, 9}, .group = GroupId(7), .nonce = 1});
  }
  const StatusView view = at.engine().Status();
  EXPECT_EQ(view.events.size(), 256u);
  EXPECT_EQ(view.events.back().number, 603u);
}

TEST(EngineTest, AContributionThatIsNeverToBeTakenIsAnsweredAndWaitedForNoLonger) {
  GroupsAtEngine at(2, 1);
  std::atomic<int> verdicts{0};
  const auto count = [&](const absl::Status& status) { verdicts += status.ok() ? 1 : 100; };
  at.Send(0, 1, 0, at.Payload(1, 0), count);
  PayloadFormat other = RoundFormats(GroupsAtEngine::Run(2)).FormatAt(Round(1), GroupId(2));
  ++other.k;
  at.Send(1, 1, 0, at.Payload(1, 0, other), count);
  while (at.stream(0).updates() < 1) std::this_thread::yield();
  while (verdicts < 2) std::this_thread::yield();
  EXPECT_EQ(verdicts, 2);  // the stream of who was refused goes on
  EXPECT_EQ(at.engine().Status().counters.abstentions, 1u);
  EXPECT_EQ(at.engine().Status().rejected, 1u);
  ASSERT_TRUE(at.stream(1).refused().has_value());
  EXPECT_THAT(*at.stream(1).refused(), HasSubstr("k"));
  EXPECT_FALSE(at.stream(0).refused().has_value());
}

TEST(EngineTest, ADamagedContributionEndsItsStreamAndIsStillWaitedFor) {
  GroupsAtEngine at(2, 1);
  std::string damaged = at.Payload(1, 0);
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  std::promise<absl::Status> verdict;
  at.Send(1, 1, 0, damaged, [&](const absl::Status& status) { verdict.set_value(status); });
  const absl::Status status = verdict.get_future().get();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("group 2 round 1 bucket 0"));
  const StatusView view = at.engine().Status();
  EXPECT_EQ(view.counters.abstentions, 0u);
  EXPECT_TRUE(view.groups[1].awaited);
}

// Until training begins, a job with another layout may take the place of one that has gone.
TEST(EngineTest, P24_PartsAreMeasuredByTheLayoutThatCounts) {
  const auto layout = [](int64_t units) {
    return *Layout::Create({{"w", {units * int64_t{kUnitLength}}, DType::kFloat32, 0}}, {});
  };
  Engine::Options options;
  options.core.run.start_groups = 2;
  options.core.run.bucket_length = kUnitLength;
  const PlainEncoder encoder;
  Engine engine(options, encoder, Clock::Real());
  const auto registered =
      engine.Register({.versions = kProtocolVersions, .group = GroupId(1), .nonce = 1});
  ASSERT_TRUE(registered.ok()) << registered.status();
  const Member member{GroupId(1), registered->incarnation};
  const auto shape = [&](uint32_t bucket) {
    return engine.ShapeOf(Round(1), BucketIndex(bucket), GroupId(1));
  };
  EXPECT_FALSE(shape(0).ok());
  ASSERT_TRUE(engine.Ready(member, 1, layout(1)).ok());
  EXPECT_TRUE(shape(0).ok());
  EXPECT_FALSE(shape(1).ok());
  ASSERT_TRUE(engine.NotReady(member, 2, "gone").ok());
  ASSERT_TRUE(engine.Ready(member, 3, layout(3)).ok());
  ASSERT_TRUE(shape(2).ok());
  EXPECT_EQ((*shape(2))->chunks, (ChunkRun{128, 64}));
}

}  // namespace
}  // namespace isthmus
