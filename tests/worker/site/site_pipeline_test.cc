// The leader's pipeline, its followers played by the test: what they may answer, and when.
#include "worker/site/site_pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/worker/step/test_group.h"
#include "worker/step/cpu_ranks.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

// One CPU rank, for which nothing is as it would be in a group of several machines but when it is
// made.
class FirstMachine : public LocalRanks {
 public:
  FirstMachine(std::function<absl::Status()> make) : make_(std::move(make)) {}
  uint32_t count() const override { return 1; }
  absl::StatusOr<std::string> Invite() override { return "come"; }
  absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                               const Layout& layout,
                                                               const Ownership& ownership,
                                                               const GroupPlace& place) override {
    EXPECT_EQ(place.ranks, 3u);
    EXPECT_EQ(place.invitation, "come");
    const absl::Status status = make_();
    if (!status.ok()) return status;
    alone_ = Ownership::InEqualParts(ownership.buckets(), 1);
    return ranks_->Make(run, layout, alone_, {.ranks = 1});
  }
  void Abort(const absl::Status& reason) override { ranks_->Abort(reason); }

 private:
  const std::function<absl::Status()> make_;
  const std::unique_ptr<LocalRanks> ranks_ = MakeCpuRanks(1, 1);
  Ownership alone_;
};

// Two machines of one rank each, which answer nothing.
class SilentFollowers : public Followers {
 public:
  const std::vector<uint32_t>& ranks() const override { return ranks_; }
  void Send(uint32_t machine, Fill fill) override {
    v1::LeaderMessage message;
    fill(&message);
    if (machine == 1) sent.push_back(std::move(message));
  }
  std::vector<v1::LeaderMessage> sent;  // to machine 1; to machine 2 the same

 private:
  const std::vector<uint32_t> ranks_ = {1, 1, 1};
};

class SitePipelineTest : public testing::Test {
 protected:
  static constexpr uint64_t kSetUp = 4;

  // Configures, while `make` says what this machine's ranks come to.
  absl::Status Configure(std::function<absl::Status()> make) {
    pipeline_ = std::make_unique<SitePipeline>(
        kSetUp,
        LocalPipeline::Options{.ranks = std::make_unique<FirstMachine>(std::move(make)),
                               .self = {GroupId(1), Incarnation(1)},
                               .run = DemoRun()},
        &followers_, &events_);
    return pipeline_->Configure(TinyLayout());
  }
  absl::Status Tell(uint32_t machine, const std::function<void(v1::FollowerMessage*)>& fill,
                    uint64_t set_up = kSetUp) {
    v1::FollowerMessage message;
    message.set_set_up(set_up);
    fill(&message);
    return pipeline_->OnMessage(machine, message);
  }
  void TellConfigured(uint32_t machine, const absl::Status& status) {
    const uint64_t request = followers_.sent.back().configure().request();
    EXPECT_TRUE(Tell(machine, [&](v1::FollowerMessage* message) {
                  message->mutable_configured()->set_request(request);
                  message->mutable_configured()->set_code(static_cast<uint32_t>(status.code()));
                  message->mutable_configured()->set_reason(std::string(status.message()));
                }).ok());
  }
  absl::Status ConfigureAll() {
    return Configure([this] {
      TellConfigured(1, absl::OkStatus());
      TellConfigured(2, absl::OkStatus());
      return absl::OkStatus();
    });
  }

  SilentFollowers followers_;
  RecordedEvents events_;
  std::unique_ptr<SitePipeline> pipeline_;
};

TEST_F(SitePipelineTest, IsConfiguredOnceAllAre) {
  EXPECT_TRUE(ConfigureAll().ok());
  ASSERT_EQ(followers_.sent.size(), 2u);
  EXPECT_EQ(followers_.sent[0].set_up().set_up(), kSetUp);
  EXPECT_EQ(followers_.sent[1].configure().invitation(), "come");
}

// This machine's own success must not cover it.
TEST_F(SitePipelineTest, AFollowersFailureBeforeOursIsTheReason) {
  const absl::Status status = Configure([this] {
    TellConfigured(2, absl::ResourceExhaustedError("5 bytes needed"));
    TellConfigured(1, absl::OkStatus());
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::ResourceExhaustedError("machine 2: 5 bytes needed"));
}

TEST_F(SitePipelineTest, TheFirstOfTwoFailuresIsTheReason) {
  const absl::Status status = Configure([this] {
    TellConfigured(1, absl::ResourceExhaustedError("5 bytes needed"));
    TellConfigured(2, absl::AbortedError("another did not come"));
    return absl::AbortedError("another did not come");
  });
  EXPECT_EQ(status, absl::ResourceExhaustedError("machine 1: 5 bytes needed"));
}

TEST_F(SitePipelineTest, OurOwnFailureIsTheReason) {
  const absl::Status status = Configure([this] {
    TellConfigured(1, absl::OkStatus());
    TellConfigured(2, absl::OkStatus());
    return absl::ResourceExhaustedError("7 bytes needed");
  });
  EXPECT_EQ(status, absl::ResourceExhaustedError("7 bytes needed"));
}

TEST_F(SitePipelineTest, ALostMachineEndsTheWait) {
  const absl::Status status = Configure([this] {
    TellConfigured(1, absl::OkStatus());
    pipeline_->Lost(absl::AbortedError("machine 2 is gone"));
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::AbortedError("machine 2 is gone"));
}

TEST_F(SitePipelineTest, P22_HashesAddUp) {
  ASSERT_TRUE(ConfigureAll().ok());
  std::promise<std::vector<uint64_t>> own, all;
  pipeline_->Hash([&](std::vector<uint64_t> hashes) { own.set_value(std::move(hashes)); });
  const auto answer = [&](uint32_t machine, uint64_t hash) {
    const uint64_t request = followers_.sent.back().hash().request();
    return Tell(machine, [&](v1::FollowerMessage* message) {
      message->mutable_hashes()->set_request(request);
      message->mutable_hashes()->add_hashes(hash);
    });
  };
  EXPECT_TRUE(answer(1, 0).ok());
  EXPECT_TRUE(answer(2, 0).ok());
  const uint64_t here = own.get_future().get().at(0);
  pipeline_->Hash([&](std::vector<uint64_t> hashes) { all.set_value(std::move(hashes)); });
  EXPECT_TRUE(answer(2, ~uint64_t{0}).ok());
  EXPECT_TRUE(answer(1, 5).ok());
  EXPECT_EQ(all.get_future().get(), std::vector<uint64_t>{here + 4});
}

TEST_F(SitePipelineTest, RefusesWhatCannotBe) {
  ASSERT_TRUE(ConfigureAll().ok());
  const auto refused = [&](const std::function<void(v1::FollowerMessage*)>& fill) {
    const absl::Status status = Tell(1, fill);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](auto* m) { m->mutable_done()->set_request(77); }),
              HasSubstr("an answer to request 77, which nobody waits for"));
  EXPECT_THAT(refused([](auto* m) { m->mutable_part()->set_bucket(1); }),
              HasSubstr("a part of bucket 1: expected one below 1"));
  EXPECT_THAT(refused([](auto* m) { m->mutable_failed()->set_code(0); }),
              HasSubstr("a failure that is none"));
  pipeline_->Hash([](std::vector<uint64_t>) { ADD_FAILURE() << "nobody has answered"; });
  const uint64_t hash = followers_.sent.back().hash().request();
  EXPECT_THAT(refused([&](auto* m) { m->mutable_hashes()->set_request(hash); }),
              HasSubstr("hashes of 0 buckets: expected 1"));
  pipeline_->Snapshot([](StateImage) { ADD_FAILURE() << "nobody has answered"; });
  const uint64_t snapshot = followers_.sent.back().snapshot().request();
  EXPECT_THAT(refused([&](auto* m) {
                m->mutable_state()->set_request(snapshot);
                m->mutable_state()->set_offset(pipeline_->state_bytes() - 2);
                m->mutable_state()->set_data("abc");
              }),
              HasSubstr("a state's piece of 3 bytes"));
  EXPECT_THAT(refused([&](auto* m) {
                m->mutable_state()->set_request(snapshot);
                m->mutable_state()->set_offset(~uint64_t{0});
                m->mutable_state()->set_data("abc");
              }),
              HasSubstr("a state's piece of 3 bytes"));
  EXPECT_TRUE(events_.failures().empty());
}

TEST_F(SitePipelineTest, PassesOverWhatWasSaidOfAnotherSetUp) {
  ASSERT_TRUE(ConfigureAll().ok());
  const auto failed = [](v1::FollowerMessage* message) {
    message->mutable_failed()->set_code(static_cast<uint32_t>(absl::StatusCode::kInternal));
    message->mutable_failed()->set_reason("a kernel");
  };
  EXPECT_TRUE(Tell(1, failed, kSetUp - 1).ok());
  EXPECT_TRUE(events_.failures().empty());
  EXPECT_TRUE(Tell(1, failed).ok());
  EXPECT_EQ(events_.failures(),
            std::vector<absl::Status>{absl::InternalError("machine 1: a kernel")});
}

}  // namespace
}  // namespace isthmus
