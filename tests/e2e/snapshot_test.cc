// The state that a group starts from: sent once, none of what is held already, over any link.
#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include "cli/link/forwarder.h"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

constexpr uint64_t kRounds = 2;

// Two groups, each behind a link of its own, that start together from group 1's parameters.
class SnapshotTest : public ::testing::Test {
 protected:
  // `rows` of 512 bytes.
  void Start(int64_t rows, const LinkSpec& first, const LinkSpec& second,
             uint32_t initial_values_of) {
    RunSpec run = SmallRun(2, kRounds);
    run.bucket_length = 0;
    coordinator_ = std::make_unique<TestCoordinator>(run);
    for (uint32_t g = 0; g < 2; ++g) {
      auto link =
          Forwarder::Start(&loop_, "127.0.0.1:0", coordinator_->address(), g == 0 ? first : second);
      ASSERT_TRUE(link.ok()) << link.status();
      links_.push_back(*std::move(link));
      sites_.push_back(std::make_unique<Site>(links_[g]->address(), g + 1, 1));
      JobOptions options;
      options.model.rows = rows;
      options.initial_values_of = initial_values_of;
      options.attach_timeout = absl::Seconds(60);
      jobs_.push_back(std::make_unique<Job>(*sites_[g], options));
      jobs_[g]->PauseBefore(1);
    }
  }
  void AwaitStart() {
    for (const auto& job : jobs_) job->AwaitAttached();
  }
  void ExpectEqual() {
    for (const auto& job : jobs_) job->Resume();
    ExpectEqualEnds({&jobs_[0]->Await(), &jobs_[1]->Await()});
    coordinator_->ExpectEqualHashes(2);
    for (const auto& job : jobs_) {
      ASSERT_FALSE(job->Await()[0].initial.empty());
      EXPECT_EQ(job->Await()[0].initial, jobs_[0]->Await()[0].initial);
      EXPECT_EQ(job->Await()[0].table, jobs_[0]->Await()[0].table);
    }
  }
  int64_t up(size_t g) const { return static_cast<int64_t>(links_[g]->counters().bytes_up); }
  int64_t down(size_t g) const { return static_cast<int64_t>(links_[g]->counters().bytes_down); }

  LinkLoop loop_;
  std::unique_ptr<TestCoordinator> coordinator_;
  std::vector<std::unique_ptr<Forwarder>> links_;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<std::unique_ptr<Job>> jobs_;
};

TEST_F(SnapshotTest, P15_WhoStartsFromTheSameParametersIsSentNone) {
  Start(8192, LinkSpec{}, LinkSpec{}, 1);  // 4 MB
  AwaitStart();
  for (size_t g = 0; g < 2; ++g) EXPECT_LT(up(g) + down(g), 100'000) << g;
  ExpectEqual();
}

TEST_F(SnapshotTest, P15_OthersAreSentThemOnce) {
  constexpr int64_t kBytes = 8192 * 512;
  Start(8192, LinkSpec{}, LinkSpec{}, 0);
  AwaitStart();
  EXPECT_GT(down(1), kBytes);
  EXPECT_LT(down(1), kBytes + 100'000);
  EXPECT_LT(up(0), kBytes + 100'000);
  ExpectEqual();
}

TEST_F(SnapshotTest, P15_AJoinersLinkThatIsCutInMidTransferCostsNothingTwice) {
  constexpr int64_t kBytes = 8192 * 512;
  LinkSpec link;
  link.up_bits_per_second = link.down_bits_per_second = 16e6;  // 2 s
  Start(8192, LinkSpec{}, link, 0);
  Eventually("half of the parameters have crossed", [&] { return down(1) > kBytes / 2; });
  links_[1]->Cut();
  Eventually("the coordinator notices", [&] { return !coordinator_->Group(2).connected(); });
  links_[1]->Heal();
  AwaitStart();
  // What was under way when it was cut came to nothing: half a second's worth at most.
  EXPECT_LT(down(1), kBytes + kBytes / 3);
  ExpectEqual();
}

TEST_F(SnapshotTest, P15_SoDoesADonorsLink) {
  constexpr int64_t kBytes = 8192 * 512;
  LinkSpec link;
  link.up_bits_per_second = link.down_bits_per_second = 16e6;
  Start(8192, link, LinkSpec{}, 0);
  Eventually("half of the parameters have crossed", [&] { return up(0) > kBytes / 2; });
  links_[0]->Cut();
  Eventually("the coordinator notices", [&] { return !coordinator_->Group(1).connected(); });
  links_[0]->Heal();
  AwaitStart();
  EXPECT_LT(up(0), kBytes + kBytes / 3);
  ExpectEqual();
}

TEST_F(SnapshotTest, P24_AVeryThinLinkStarts) {
  LinkSpec link;
  link.up_bits_per_second = link.down_bits_per_second = 64e3;
  link.delay = absl::Milliseconds(50);
  Start(80, LinkSpec{}, link, 0);  // 40 KB: 5 s
  AwaitStart();
  ExpectEqual();
}

}  // namespace
}  // namespace isthmus::e2e
