// What becomes of NCCL's failures. That its collectives compute what they should is in
// device_communicator_test.cc.
#include "common/collectives/nccl_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>

#include "tests/common/collectives/fake_nccl.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

// Time passes by looking.
class LookingClock : public Clock {
 public:
  absl::Time Now() const override {
    return absl::UnixEpoch() + absl::Milliseconds(looks_.fetch_add(1));
  }

 private:
  mutable std::atomic<int64_t> looks_ = 0;
};

class NcclCommunicatorTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>> Make(uint32_t size,
                                                                        uint32_t first = 0,
                                                                        uint32_t here = 3,
                                                                        NcclOptions options = {}) {
    std::vector<Device*> devices;
    for (uint32_t i = 0; i < here; ++i) devices.push_back(&devices_[i]);
    return MakeNcclCommunicators(nccl_, id_, size, first, devices, std::move(options));
  }
  // Over after 1000 looks at the clock.
  NcclOptions Soon() { return {.deadline = absl::Seconds(1), .clock = &clock_}; }

  const std::shared_ptr<FakeNccl> nccl_ = std::make_shared<FakeNccl>();
  const Nccl::Id id_ = nccl_->MakeId().value();
  LookingClock clock_;
  HostDevice devices_[3] = {HostDevice(1 << 20, HostWork::kByThread),
                            HostDevice(1 << 20, HostWork::kByThread),
                            HostDevice(1 << 20, HostWork::kByThread)};
};

TEST_F(NcclCommunicatorTest, ARankThatNeverConnectsIsToldInTime) {
  const auto ranks = Make(4, 0, 3, Soon());
  ASSERT_EQ(ranks.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(ranks.status().message()),
              HasSubstr("did not connect within 1s: some rank has not come"));
  EXPECT_EQ(nccl_->comms(), 0);
}

TEST_F(NcclCommunicatorTest, RanksOfTwoProcessesMeetByTheId) {
  absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>> other;
  std::thread process([&] { other = Make(2, 1, 1); });
  const auto ranks = Make(2, 0, 1);
  process.join();
  ASSERT_TRUE(ranks.ok() && other.ok());
  absl::Status arrived;
  std::thread rank_one([&] { arrived = (*other)[0]->Barrier(); });
  EXPECT_TRUE((*ranks)[0]->Barrier().ok());
  rank_one.join();
  EXPECT_TRUE(arrived.ok());
  EXPECT_EQ((*other)[0]->rank(), 1u);
}

TEST_F(NcclCommunicatorTest, ACollectiveThatARankMissesEndsAtTheDeadline) {
  const auto ranks = Make(3, 0, 3, Soon());
  ASSERT_TRUE(ranks.ok());
  const absl::Status status = (*ranks)[1]->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did not end within 1s"));
  EXPECT_EQ(nccl_->comms(), 0) << "all of this process are aborted";
  EXPECT_EQ((*ranks)[0]->Barrier(), status);
}

// Rank 2's call waits for the driver, which waits for rank 1's collective, which waits for rank 2.
TEST_F(NcclCommunicatorTest, ACallThatBlocksDoesNotStopTheDeadline) {
  const auto ranks = Make(3, 0, 3, Soon());
  ASSERT_TRUE(ranks.ok());
  nccl_->StickAt(2);
  absl::Status stuck;
  std::thread rank_two([&] { stuck = (*ranks)[2]->Barrier(); });
  nccl_->AwaitStuck();
  const absl::Status status = (*ranks)[1]->Barrier();
  rank_two.join();
  EXPECT_THAT(std::string(status.message()), HasSubstr("did not end within 1s"));
  EXPECT_EQ(stuck, status);
  EXPECT_EQ(nccl_->comms(), 0);
}

TEST_F(NcclCommunicatorTest, AnErrorSeenByOneEndsAll) {
  const auto ranks = Make(3);
  ASSERT_TRUE(ranks.ok());
  nccl_->Fail(absl::InternalError("NCCL: the communicator: remote process exited"));
  const absl::Status status = (*ranks)[2]->Barrier();
  EXPECT_EQ(status, absl::AbortedError("NCCL: the communicator: remote process exited"));
  EXPECT_EQ((*ranks)[0]->Barrier(), status);
  EXPECT_EQ(nccl_->comms(), 0);
}

TEST_F(NcclCommunicatorTest, AnErrorWhileConnectingLeavesNothingBehind) {
  nccl_->Fail(absl::InternalError("NCCL: ncclCommInitRankConfig: duplicate GPU"));
  EXPECT_EQ(Make(3).status(), absl::AbortedError("NCCL: ncclCommInitRankConfig: duplicate GPU"));
  EXPECT_EQ(nccl_->comms(), 0);
  nccl_->Fail(absl::OkStatus());
}

TEST_F(NcclCommunicatorTest, TheEndOfTheRanksIsTheEndOfTheComms) {
  { ASSERT_TRUE(Make(3).ok()); }
  EXPECT_EQ(nccl_->comms(), 0);
}

TEST(OpenNcclTest, SaysWhatIsMissingOrMakesAnId) {
  const auto nccl = OpenNccl();
  if (!nccl.ok()) {
    EXPECT_EQ(nccl.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(nccl.status().message()), HasSubstr("NCCL: "));
    return;
  }
  // Works without a GPU.
  EXPECT_THAT((*nccl)->version(), HasSubstr("."));
  EXPECT_NE((*nccl)->MakeId().value(), (*nccl)->MakeId().value());
}

}  // namespace
}  // namespace isthmus
