#include "worker/step/shared_update.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr BucketIndex kBucket(0);
constexpr Round kRound(1);

// Three groups have contributed; group 1 receives.
class SharedUpdateTest : public testing::Test {
 protected:
  SharedUpdateTest() {
    for (TestGroup* group : groups_) {
      group->SetGradients(CoarseVector(group->self.group.value() + 1, group->layout));
      group->ProcessAll(kRound, true);
      group->Await();
    }
    update_ = MakeForwarded(groups_, b_, kRound, kBucket);
  }

  absl::StatusOr<const UpdateView*> Parse() {
    shared_ = std::make_unique<SharedUpdate>(update_, reader_);
    return shared_->Parsed(b_.layout, b_.pipeline.buckets());
  }
  void ExpectRefused(const std::string& words) {
    const absl::Status status = Parse().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    // Whoever asks next gets the same answer.
    EXPECT_EQ(shared_->Parsed(b_.layout, b_.pipeline.buckets()).status(), status);
  }

  TestGroup a_{2, OneBitRun(), MixedLayout(), 0};
  TestGroup b_{1, OneBitRun(), MixedLayout(), 1};
  TestGroup c_{3, OneBitRun(), MixedLayout(), 2};
  const std::vector<TestGroup*> groups_{&a_, &b_, &c_};
  const std::shared_ptr<const UpdateReader> reader_ =
      std::make_shared<const UpdateReader>(b_.run, b_.self);
  std::shared_ptr<ReceivedUpdate> update_;
  std::unique_ptr<SharedUpdate> shared_;
};

TEST_F(SharedUpdateTest, P20_ItsOwnContributionIsLeftToTheReceiver) {
  ASSERT_TRUE(Parse().ok()) << Parse().status();
  EXPECT_TRUE((*Parse())->needs_own());
  EXPECT_EQ((*Parse())->encoding(), UpdateEncoding::kContributions);
}

TEST_F(SharedUpdateTest, P20_AnEarlierProcessOfTheGroupIsAStranger) {
  update_->header.contributors[1].incarnation = Incarnation(7);
  ExpectRefused("end of parts");
  ReceivedUpdate::Contribution earlier{1, {}};
  for (const ContributionPart& part : b_.events.parts(kRound, kBucket)) {
    earlier.parts.push_back(*part.payload);
  }
  update_->contributions.push_back(earlier);
  ASSERT_TRUE(Parse().ok()) << Parse().status();
  EXPECT_FALSE((*Parse())->needs_own());
}

TEST_F(SharedUpdateTest, P20_PartsMayComeInAnyOrder) {
  std::swap(update_->contributions[0], update_->contributions[1]);
  for (auto& contribution : update_->contributions) {
    std::reverse(contribution.parts.begin(), contribution.parts.end());
  }
  EXPECT_TRUE(Parse().ok()) << Parse().status();
}

TEST_F(SharedUpdateTest, RefusesAMissingContribution) {
  update_->contributions.pop_back();
  ExpectRefused("end of parts");
}

TEST_F(SharedUpdateTest, RefusesAContributionWithoutParts) {
  update_->contributions[1].parts.clear();
  ExpectRefused("end of parts");
}

TEST_F(SharedUpdateTest, RefusesAMissingPart) {
  ASSERT_EQ(update_->contributions[0].parts.size(), 2u);
  update_->contributions[0].parts.pop_back();
  ExpectRefused("end of parts");
}

TEST_F(SharedUpdateTest, RefusesAContributionTwice) {
  update_->contributions.push_back(update_->contributions[0]);
  ExpectRefused("contribution of contributor 0 of 3: expected each but this group's own once");
}

TEST_F(SharedUpdateTest, RefusesOneThatIsTheReceivers) {
  update_->contributions[0].contributor = 1;
  ExpectRefused("contribution of contributor 1 of 3");
}

TEST_F(SharedUpdateTest, RefusesOneOfNoContributor) {
  update_->contributions[1].contributor = 3;
  ExpectRefused("contribution of contributor 3 of 3");
  update_->contributions[1].contributor = ~0u;
  ExpectRefused("contribution of contributor 4294967295 of 3");
}

TEST_F(SharedUpdateTest, RefusesPartsOfAnotherRound) {
  update_->header.round = Round(2);
  ExpectRefused("contribution round: expected 2, got 1");
}

TEST_F(SharedUpdateTest, RefusesAPartThatIsDamaged) {
  update_->contributions[0].parts[0].back() ^= 1;
  EXPECT_EQ(Parse().status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SharedUpdateTest, RefusesScalarsOfOtherParameterGroups) {
  update_->header.scalars.pop_back();
  ExpectRefused("expected scalars of 2 parameter groups, got 1");
}

}  // namespace
}  // namespace isthmus
