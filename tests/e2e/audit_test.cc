// A bit that flips in one site's masters: found by the next audit, mended by a snapshot, and the
// run ends with equal states as if nothing had been.
#include <gtest/gtest.h>

#include "tests/e2e/harness.h"
#include "worker/step/bit_flip.h"
#include "worker/step/cpu_ranks.h"

namespace isthmus::e2e {
namespace {

constexpr uint64_t kRounds = 24;

RunSpec AuditedRun(uint32_t groups, Scheme scheme) {
  RunSpec run = SmallRun(groups, kRounds, scheme);
  run.audit_rounds = 4;
  return run;
}

std::function<void(Daemon::Options&)> FlipAfter(uint64_t round) {
  return [round](Daemon::Options& options) {
    options.make_ranks = [round, ranks = options.ranks, threads = options.threads] {
      return FlipBitAfter(Round(round), MakeCpuRanks(ranks, threads));
    };
  };
}

// Until the audit of round 8 has found one group to differ and that one is back.
void AwaitMended(const TestCoordinator& coordinator, uint32_t group) {
  Eventually("the difference is found",
             [&] { return coordinator.Status().audit_mismatches() > 0; });
  Eventually("the group that differed is mended",
             [&] { return coordinator.Group(group).state() == "active"; });
}

class AuditTest : public ::testing::TestWithParam<Scheme> {};

TEST_P(AuditTest, P22_AFlippedBitIsFoundByTheNextAuditAndMendedByASnapshot) {
  TestCoordinator coordinator(AuditedRun(3, GetParam()));
  Site one(coordinator.address(), 1, 1);
  Site two(coordinator.address(), 2, 2, FlipAfter(6));
  Site three(coordinator.address(), 3, 1);
  Job first(one), second(two), third(three);
  // The others wait; group 2 is in a step when its masters are replaced, and that step ends.
  first.PauseBefore(10);
  third.PauseBefore(10);
  AwaitMended(coordinator, 2);
  first.Resume();
  third.Resume();
  const auto &a = first.Await(), &b = second.Await(), &c = third.Await();
  ExpectEqualEnds({&a, &b, &c}, coordinator.ExpectEqualHashes(3));
  const v1::GetStatusReply status = coordinator.Status();
  EXPECT_EQ(status.audit_mismatches(), 1u);
  // The last report comes beside the last heartbeat, before or after it.
  EXPECT_GE(status.audits(), kRounds / 4 - 1);
  EXPECT_EQ(status.contributions_rejected(), 0u);
  for (const RankOutcome& rank : b) {
    for (size_t s = 1; s < rank.steps.size(); ++s) {
      EXPECT_GT(rank.steps[s].round, rank.steps[s - 1].round);
    }
  }
}

// Nobody can tell who of two is right: group 1 counts, although it was its bit.
TEST_P(AuditTest, P22_OfTwoTheLowestIdCountsAndBothEndEqual) {
  TestCoordinator coordinator(AuditedRun(2, GetParam()));
  Site one(coordinator.address(), 1, 2, FlipAfter(5));
  Site two(coordinator.address(), 2, 1);
  Job first(one), second(two);
  first.PauseBefore(10);
  AwaitMended(coordinator, 2);
  first.Resume();
  const auto &a = first.Await(), &b = second.Await();
  ExpectEqualEnds({&a, &b}, coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(coordinator.Status().audit_mismatches(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Schemes, AuditTest, ::testing::Values(Scheme::kFlexDemo, Scheme::kFull),
                         [](const auto& param) { return std::string(Name(param.param)); });

TEST(AuditOffTest, WithoutAnAuditTheEndSaysThatStatesDiffer) {
  RunSpec run = SmallRun(2, kRounds);
  run.audit_rounds = 0;
  TestCoordinator coordinator(run);
  Site one(coordinator.address(), 1, 1, FlipAfter(5));
  Site two(coordinator.address(), 2, 1);
  Job first(one), second(two);
  first.Await();
  second.Await();
  for (uint32_t id : {1, 2}) {
    Eventually("the last hash",
               [&] { return coordinator.Group(id).heartbeat().hash_round() == kRounds; });
  }
  EXPECT_NE(coordinator.Group(1).heartbeat().state_hash(),
            coordinator.Group(2).heartbeat().state_hash());
  EXPECT_EQ(coordinator.Status().audits(), 0u);
}

}  // namespace
}  // namespace isthmus::e2e
