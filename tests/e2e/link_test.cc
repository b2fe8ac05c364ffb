// Links that break and heal, or are too thin: nothing is lost, nothing applied twice.
#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include "cli/link/forwarder.h"
#include "common/base/rng.h"
#include "common/telemetry/log.h"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

constexpr uint64_t kRounds = 30;

// Two groups, each behind a link of its own.
class LinkTest : public ::testing::Test {
 protected:
  void Start(const CoordinatorServer::Options& options, const LinkSpec& spec) {
    Start(options, spec, spec);
  }
  void Start(const CoordinatorServer::Options& options, const LinkSpec& first,
             const LinkSpec& second) {
    coordinator_ = std::make_unique<TestCoordinator>(options);
    for (uint32_t g = 0; g < 2; ++g) {
      auto link =
          Forwarder::Start(&loop_, "127.0.0.1:0", coordinator_->address(), g == 0 ? first : second);
      ASSERT_TRUE(link.ok()) << link.status();
      links_.push_back(*std::move(link));
      sites_.push_back(std::make_unique<Site>(links_[g]->address(), g + 1, g + 1));
      jobs_.push_back(std::make_unique<Job>(*sites_[g], JobOptions{}));
    }
  }
  // A job that steps late may skip rounds that the others have closed without it, never repeat one.
  void ExpectEqual() {
    for (const auto& job : jobs_) {
      uint64_t last = 0;
      for (const isthmus_step_result& step : job->Await()[0].steps) {
        EXPECT_GT(step.round, last);
        last = step.round;
      }
    }
    ExpectEqualEnds({&jobs_[0]->Await(), &jobs_[1]->Await()}, coordinator_->ExpectEqualHashes(2));
    EXPECT_EQ(coordinator_->Status().sequence(), kRounds * 4);
    EXPECT_EQ(coordinator_->Status().contributions_rejected(), 0u);
  }

  LinkLoop loop_;
  std::unique_ptr<TestCoordinator> coordinator_;
  std::vector<std::unique_ptr<Forwarder>> links_;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<std::unique_ptr<Job>> jobs_;
};

TEST_F(LinkTest, CutsAtAnyMomentAreHealedWithoutLoss) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  options.engine.core.reconnect_grace = absl::Seconds(30);  // nobody is given up
  LinkSpec spec;
  spec.up_bits_per_second = spec.down_bits_per_second = 4e6;
  spec.delay = absl::Milliseconds(1);
  Start(options, spec);
  constexpr uint64_t kSeed = 20240611;
  RecordProperty("seed", absl::StrCat(kSeed));
  Rng rng(kSeed);
  const auto bytes = [&](size_t g) {
    const LinkCounters counters = links_[g]->counters();
    return counters.bytes_up + counters.bytes_down;
  };
  for (int cut = 0; cut < 6; ++cut) {
    const size_t victim = rng.Below(2);
    const uint64_t from = bytes(victim);
    // About two rounds' traffic: cuts fall anywhere within one.
    const uint64_t wait_bytes = rng.Below(20000);
    Eventually(absl::StrCat("traffic before cut ", cut), [&] {
      return bytes(victim) >= from + wait_bytes ||
             coordinator_->Status().state() == v1::GetStatusReply::ENDED;
    });
    links_[victim]->Cut();
    if (rng.Chance(0.7)) {
      Eventually("the coordinator notices the cut", [&] {
        return !coordinator_->Group(static_cast<uint32_t>(victim) + 1).connected();
      });
    }
    links_[victim]->Heal();
  }
  ExpectEqual();
  for (const auto& job : jobs_) EXPECT_EQ(job->Await()[0].steps.size(), kRounds);
  EXPECT_EQ(coordinator_->Status().contributions_late(), 0u);
  EXPECT_EQ(coordinator_->Status().contributions_merged(), kRounds * 4 * 2);
  for (uint32_t g : {1u, 2u}) {
    EXPECT_EQ(coordinator_->Group(g).heartbeat().returned_contributions(), 0u);
  }
}

TEST_F(LinkTest, ACutLongerThanTheGraceCostsTheGroupItsRoundsAndNothingElse) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  options.engine.core.reconnect_grace = absl::Milliseconds(100);
  Start(options, LinkSpec{});
  jobs_[0]->PauseBefore(20);
  jobs_[1]->PauseBefore(5);
  jobs_[1]->AwaitPaused();
  links_[1]->Cut();
  jobs_[1]->Resume();  // its round-5 contribution finds no way
  coordinator_->AwaitRound(15);
  links_[1]->Heal();
  Eventually("group 2 is back", [&] { return coordinator_->Group(2).state() == "active"; });
  jobs_[0]->Resume();
  ExpectEqual();
  EXPECT_GT(coordinator_->Group(2).heartbeat().returned_contributions(), 0u);
}

TEST_F(LinkTest, P12_LateContributionsAreReturnedAndHashesStayEqual) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  options.engine.core.deadline = absl::Milliseconds(20);
  Start(options, LinkSpec{});
  jobs_[0]->PauseBefore(10);
  jobs_[1]->PauseBefore(5);
  coordinator_->AwaitRound(9);  // by group 1 alone
  jobs_[1]->Resume();
  jobs_[0]->Resume();
  ExpectEqual();
  const v1::GetStatusReply status = coordinator_->Status();
  EXPECT_GE(status.contributions_late(), 5u * 4);
  EXPECT_EQ(coordinator_->Group(1).contributions_late(), 0u);
  EXPECT_EQ(coordinator_->Group(2).contributions_late(), status.contributions_late());
  EXPECT_EQ(status.rounds_committed(), kRounds);
}

TEST_F(LinkTest, AJobThatMissesTheLastRoundsEndsWithTheirParameters) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  options.engine.core.deadline = absl::Milliseconds(5);
  Start(options, LinkSpec{});
  jobs_[1]->PauseBefore(5);
  Eventually("group 2 has applied the last round without its job",
             [&] { return coordinator_->Group(2).heartbeat().applied_round() == kRounds; });
  jobs_[1]->Resume();
  ExpectEqual();
  // Four, unless the machine was so busy that some round before was committed without it.
  const auto& steps = jobs_[1]->Await()[0].steps;
  ASSERT_FALSE(steps.empty());
  EXPECT_LT(steps.back().round, 5u);
}

TEST_F(LinkTest, AThinLinkAndAShortDeadlineReturnWhatComesLate) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  options.engine.core.deadline = absl::Milliseconds(30);
  LinkSpec spec;
  spec.up_bits_per_second = 1e6;  // 5 KB a round: 40 ms
  spec.down_bits_per_second = 8e6;
  Start(options, spec);
  ExpectEqual();
  const v1::GetStatusReply status = coordinator_->Status();
  EXPECT_GT(status.contributions_merged(), 0u);
}

TEST_F(LinkTest, WhoMissesMoreThanTheRingHoldsGetsASnapshot) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  options.engine.core.reconnect_grace = absl::Milliseconds(100);
  options.engine.ring_bytes = 16 << 10;  // less than ten rounds
  Start(options, LinkSpec{});
  jobs_[0]->PauseBefore(20);
  jobs_[1]->PauseBefore(5);
  jobs_[1]->AwaitPaused();
  links_[1]->Cut();
  jobs_[1]->Resume();
  coordinator_->AwaitRound(19);
  ASSERT_LE(coordinator_->Status().ring_bytes(), options.engine.ring_bytes);
  links_[1]->Heal();
  Eventually("group 2 is back", [&] { return coordinator_->Group(2).state() == "active"; });
  jobs_[0]->Resume();
  // Its step of round 5 ended with round 19, whose parameters the snapshot brought.
  const auto& late = jobs_[1]->Await();
  ExpectEqualEnds({&jobs_[0]->Await(), &late}, coordinator_->ExpectEqualHashes(2));
  ASSERT_GE(late[0].steps.size(), 5u);
  EXPECT_EQ(late[0].steps[3].round, 4u);
  EXPECT_EQ(late[0].steps[4].round, 19u);
}

// Group 2 is cut off with some buckets of the round answered, their updates lost on the way, and
// others unanswered: everybody waits for these, and nobody else can make up min_groups. Whatever
// the ring's size, it must be able to resume.
TEST_F(LinkTest, CutOffInMidRoundWithTheShortestRingItAnswersTheRest) {
  RunSpec run = SmallRun(2, 6);
  run.min_groups = 2;
  CoordinatorServer::Options options = ServerOptions(run);
  options.engine.core.reconnect_grace = absl::Seconds(30);
  options.engine.ring_bytes = 1;
  LinkSpec thin;
  thin.up_bits_per_second = 200e3;  // 30 ms a bucket
  thin.delay = absl::Milliseconds(100);
  Start(options, LinkSpec{}, thin);
  Eventually("two or three buckets of group 2 have arrived", [&] {
    const v1::GetStatusReply status = coordinator_->Status();
    const uint32_t have = status.groups_size() == 2 ? status.groups(1).buckets_received() : 0;
    return status.round() >= 2 && status.sequence() % 4 >= 2 && have >= 2 && have < 4;
  });
  links_[1]->Cut();
  links_[1]->Heal();
  for (const auto& job : jobs_) job->Await();
  ExpectEqualEnds({&jobs_[0]->Await(), &jobs_[1]->Await()}, coordinator_->ExpectEqualHashes(2));
}

TEST_F(LinkTest, AFarCoordinatorIsReachedAtTheFirstAttempt) {
  ASSERT_TRUE(SetLogLevel("warning").ok());
  ::testing::internal::CaptureStderr();
  LinkSpec spec;
  spec.delay = absl::Milliseconds(100);
  Start(ServerOptions(SmallRun(2, 1)), spec);
  ExpectEqualEnds({&jobs_[0]->Await(), &jobs_[1]->Await()}, coordinator_->ExpectEqualHashes(2));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ASSERT_TRUE(SetLogLevel("off").ok());
}

// From a link that gets thin in mid-run; a worker is cut off meanwhile, and comes back to other
// formats.
TEST_F(LinkTest, P30_ADecisionChangesTheBytesOnTheWire) {
  constexpr uint64_t kManyRounds = 70;
  RunSpec run = SmallRun(2, kManyRounds);
  run.format = DefaultRunSpec(Scheme::kFlexDemo).format;
  run.audit_rounds = 5;
  CoordinatorServer::Options options = ServerOptions(run);
  options.engine.core.reconnect_grace = absl::Seconds(30);
  options.engine.core.pace = Pacer::Options{.target = 0.1};
  options.engine.probe_links = false;  // whose bytes would be counted among those of rounds
  LinkSpec spec;
  spec.up_bits_per_second = spec.down_bits_per_second = 2e6;
  spec.delay = absl::Milliseconds(1);
  Start(options, spec);
  coordinator_->AwaitRound(2);
  spec.up_bits_per_second = spec.down_bits_per_second = 100e3;
  for (const auto& link : links_) link->Become(spec);
  const auto changes = [&] {
    const v1::GetStatusReply status = coordinator_->Status();
    return std::ranges::count(status.events(), "pace_changed", &v1::PastEvent::kind);
  };
  Eventually("the pace sends less", [&] {
    return changes() > 0 || coordinator_->Status().state() == v1::GetStatusReply::ENDED;
  });
  links_[1]->Cut();
  links_[1]->Heal();
  for (const auto& job : jobs_) job->Await();
  ExpectEqualEnds({&jobs_[0]->Await(), &jobs_[1]->Await()}, coordinator_->ExpectEqualHashes(2));
  const v1::GetStatusReply status = coordinator_->Status();
  EXPECT_GT(status.audits(), 0u);
  EXPECT_EQ(status.audit_mismatches(), 0u);
  EXPECT_EQ(status.contributions_rejected(), 0u);
  ASSERT_EQ(status.rounds_size(), static_cast<int>(kManyRounds));
  EXPECT_EQ(status.rounds(0).chunk_size(), 64u);
  EXPECT_EQ(status.rounds(0).k(), 2u);
  const v1::PastRound& last = status.rounds(kManyRounds - 1);
  EXPECT_LT(last.k() * 64, 2 * last.chunk_size()) << "a smaller share of each chunk";
  // Of rounds with one format and the other; what falls between two rounds is little.
  const auto bytes_of = [&](const v1::PastRound& like) {
    uint64_t rounds = 0, bytes = 0;
    for (const v1::PastRound& round : status.rounds()) {
      if (round.chunk_size() != like.chunk_size() || round.k() != like.k()) continue;
      ++rounds;
      bytes += round.bytes_up();
    }
    return static_cast<double>(bytes) / static_cast<double>(rounds);
  };
  EXPECT_LT(bytes_of(last), 0.9 * bytes_of(status.rounds(0)));
}

// Before there is any round, or any job to have one.
TEST_F(LinkTest, P24b_AStreamIsFilledForAMomentSoThatItsRateIsKnown) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, 1));
  options.engine.probe_links = true;
  coordinator_ = std::make_unique<TestCoordinator>(options);
  LinkSpec spec;
  spec.up_bits_per_second = 8e6;
  spec.down_bits_per_second = 4e6;
  spec.delay = absl::Milliseconds(5);
  links_.push_back(Forwarder::Start(&loop_, "127.0.0.1:0", coordinator_->address(), spec).value());
  sites_.push_back(std::make_unique<Site>(links_[0]->address(), 1, 1));
  Eventually("both directions of the link are measured", [&] {
    const v1::GetStatusReply status = coordinator_->Status();
    return status.groups_size() == 1 && status.groups(0).up().samples() > 0 &&
           status.groups(0).heartbeat().down().samples() > 0;
  });
  // More than it carries cannot be seen, however busy the machine.
  const v1::GroupStatus group = coordinator_->Group(1);
  EXPECT_GT(group.up().bytes_per_second(), 0);
  EXPECT_LT(group.up().bytes_per_second(), 1.5e6);
  EXPECT_GT(group.heartbeat().down().bytes_per_second(), 0);
  EXPECT_LT(group.heartbeat().down().bytes_per_second(), 0.75e6);
}

// However short the ring, whoever is awaited can resume.
TEST_F(LinkTest, CutsWithARingThatHoldsNothing) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  options.engine.core.reconnect_grace = absl::Seconds(30);
  options.engine.ring_bytes = 1;
  LinkSpec spec;
  spec.up_bits_per_second = spec.down_bits_per_second = 4e6;
  spec.delay = absl::Milliseconds(1);
  Start(options, spec);
  for (uint64_t round : {5, 9, 14}) {
    coordinator_->AwaitRound(round);
    links_[1]->Cut();
    links_[1]->Heal();
  }
  for (const auto& job : jobs_) job->Await();
  ExpectEqualEnds({&jobs_[0]->Await(), &jobs_[1]->Await()}, coordinator_->ExpectEqualHashes(2));
}

}  // namespace
}  // namespace isthmus::e2e
