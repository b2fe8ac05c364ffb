// A peer that breaks the protocol costs itself its stream, is told why, and disturbs nobody.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "common/base/crc32c.h"
#include "common/tensor/layout.h"
#include "common/transport/endpoints.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/raw_peer.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

constexpr uint64_t kRounds = 9;
constexpr uint64_t kOpen = 4;  // the round in which the bad peer comes

// Offsets in a payload (common/compression/payload.h).
constexpr size_t kK = 8;
constexpr size_t kRound = 22;
constexpr size_t kCrc = 30;
constexpr size_t kBody = 34;
// Within the body: a record takes 84 bits, 20 of them indices, so the second's values begin here.
constexpr size_t kValue = kBody + (84 + 20) / 8;

// Puts `value` at `offset` of the payload, then makes the checksum right again.
template <typename T>
void Patch(v1::WorkerMessage& message, size_t offset, T value) {
  std::string& data = *message.mutable_part()->mutable_data();
  std::memcpy(data.data() + offset, &value, sizeof(value));
  const auto bytes = std::as_bytes(std::span(data));
  const uint32_t crc = ExtendCrc32c(Crc32c(bytes.first(kCrc)), bytes.subspan(kBody));
  std::memcpy(data.data() + kCrc, &crc, sizeof(crc));
}

// The part becomes one of `round`, frame and payload.
void SetRound(v1::WorkerMessage& message, uint64_t round) {
  message.mutable_part()->set_round(round);
  Patch<uint64_t>(message, kRound, round);
}

class BadPeerTest : public ::testing::Test {
 protected:
  BadPeerTest() {
    CoordinatorServer::Options options = ServerOptions(SmallRun(1, kRounds));
    options.engine.core.reconnect_grace = absl::Milliseconds(50);
    coordinator_ = std::make_unique<TestCoordinator>(options);
    site_ = std::make_unique<Site>(coordinator_->address(), 1, 1);
    job_ = std::make_unique<Job>(*site_);
    job_->PauseBefore(kOpen);
    coordinator_->AwaitRound(kOpen - 1);
    peer_ = std::make_unique<RawPeer>(coordinator_->address(), 9);
  }
  ~BadPeerTest() override {
    job_->Resume();
    ExpectEqualEnds({&job_->Await()}, coordinator_->ExpectEqualHashes(1));
  }

  void ExpectEnded(Code code, const std::string& words, uint64_t rejected) {
    const absl::Status status = peer_->AwaitEnd();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_EQ(coordinator_->Status().contributions_rejected(), rejected);
    Eventually("the coordinator lets go of the stream",
               [&] { return !coordinator_->Group(9).connected(); });
  }

  std::unique_ptr<TestCoordinator> coordinator_;
  std::unique_ptr<Site> site_;
  std::unique_ptr<Job> job_;
  std::unique_ptr<RawPeer> peer_;
};

// --- calls -------------------------------------------------------------------------------------

TEST_F(BadPeerTest, ALayoutOfTooManyTensors) {
  v1::Layout layout;
  for (uint64_t i = 0; i <= 2 * kMaxTensors; ++i) layout.add_tensors();
  const absl::Status status = peer_->Ready(layout);
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("expected at most 65536 tensors"));
}

TEST_F(BadPeerTest, AMessageThatNobodyTakes) {
  v1::Layout layout;
  layout.add_tensors()->set_name(std::string(kMaxMessageBytes, 'n'));
  const absl::Status status = peer_->Ready(layout);
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("larger than max"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(kMaxMessageBytes)));
}

// --- before Hello ------------------------------------------------------------------------------

TEST_F(BadPeerTest, SomethingBeforeHello) {
  peer_->Open();
  v1::WorkerMessage message;
  message.mutable_ack()->set_bytes(1);
  peer_->Write(message);
  ExpectEnded(Code::kFailedPrecondition, "expected Hello as the first message", 0);
}

TEST_F(BadPeerTest, HelloOfAGroupThatNeverRegistered) {
  peer_->Open();
  peer_->Write(peer_->MakeHello());
  ExpectEnded(Code::kFailedPrecondition, "group 9 incarnation 0 has not registered", 0);
}

TEST_F(BadPeerTest, HelloOfAnotherInstance) {
  ASSERT_TRUE(peer_->Register(peer_->MakeRegister()).ok());
  peer_->Open();
  v1::WorkerMessage hello = peer_->MakeHello();
  hello.mutable_hello()->set_instance(77);
  peer_->Write(hello);
  ExpectEnded(Code::kFailedPrecondition,
              "group 9 incarnation 1 speaks of coordinator instance 77, this one is instance", 0);
}

TEST_F(BadPeerTest, HelloFromTheFuture) {
  ASSERT_TRUE(peer_->Register(peer_->MakeRegister()).ok());
  peer_->Open();
  v1::WorkerMessage hello = peer_->MakeHello();
  hello.mutable_hello()->set_applied_sequence(1000);
  peer_->Write(hello);
  ExpectEnded(Code::kInvalidArgument, "group 9 incarnation 1 says 1000, the run is at 12", 0);
}

TEST_F(BadPeerTest, PartsOfAGroupThatIsNotInSync) {
  ASSERT_TRUE(peer_->Register(peer_->MakeRegister()).ok());
  peer_->Open();
  peer_->Write(peer_->MakeHello());
  v1::WorkerMessage message = peer_->MakePart(0);
  SetRound(message, kOpen);
  message.mutable_part()->mutable_info()->set_base_round(kOpen - 1);
  peer_->Write(message);
  ExpectEnded(Code::kFailedPrecondition, "it is not in sync, and the open round is 4", 1);
}

TEST_F(BadPeerTest, P22_AReportOfARoundThatIsNotOver) {
  peer_->BecomeActive();
  v1::WorkerMessage message;
  message.mutable_audit()->set_round(25);
  for (uint64_t hash = 0; hash < 4; ++hash) message.mutable_audit()->add_bucket_hashes(hash);
  peer_->Write(message);
  ExpectEnded(Code::kInvalidArgument,
              "group 9 incarnation 1 audit: round: expected at most 3, got 25", 1);
}

// --- what is right -----------------------------------------------------------------------------

TEST_F(BadPeerTest, RightPartsAreMerged) {
  peer_->BecomeActive();
  EXPECT_EQ(peer_->open_round(), kOpen);
  for (uint32_t b = 0; b < 4; ++b) peer_->Write(peer_->MakePart(b));
  Eventually("all of it has arrived",
             [&] { return coordinator_->Group(9).buckets_received() == 4; });
  job_->PauseBefore(kOpen + 1);
  coordinator_->AwaitRound(kOpen);
  EXPECT_EQ(coordinator_->Status().contributions_merged(), kOpen * 4 + 4);
  EXPECT_TRUE(peer_->Leave().ok());
}

TEST_F(BadPeerTest, SnapshotFramesNobodyAskedForAreIgnored) {
  peer_->BecomeActive();
  v1::WorkerMessage message;
  message.mutable_snapshot()->set_transfer(99);
  message.mutable_snapshot()->set_total_bytes(10);
  message.mutable_snapshot()->set_data("0123456789");
  for (int i = 0; i < 20; ++i) peer_->Write(message);
  message.mutable_caught_up()->set_transfer(99);
  message.mutable_caught_up()->set_sequence(1000);
  peer_->Write(message);
  EXPECT_TRUE(peer_->Leave().ok());
}

TEST_F(BadPeerTest, AFrameWithOffsetZeroBeginsAnew) {
  peer_->BecomeActive();
  v1::WorkerMessage half = peer_->MakePart(0);
  half.mutable_part()->mutable_data()->resize(100);
  peer_->Write(half);
  peer_->Write(peer_->MakePart(0));
  Eventually("it has arrived", [&] { return coordinator_->Group(9).buckets_received() == 1; });
  EXPECT_TRUE(peer_->Leave().ok());
}

TEST_F(BadPeerTest, TheSamePartTwiceCountsOnceAndAbstainingAfterwardsNot) {
  peer_->BecomeActive();
  peer_->Write(peer_->MakePart(0));
  peer_->Write(peer_->MakePart(0));
  v1::WorkerMessage abstain;
  abstain.mutable_abstain()->set_round(kOpen);
  abstain.mutable_abstain()->set_reason(v1::Abstain::SKIPPED);
  peer_->Write(abstain);
  EXPECT_TRUE(peer_->Leave().ok());
  EXPECT_EQ(coordinator_->Status().abstentions(), 0u);
}

TEST_F(BadPeerTest, HalfAContributionThenAbstainThenAllOfIt) {
  peer_->BecomeActive();
  for (int i = 0; i < 50; ++i) {
    v1::WorkerMessage one = peer_->MakePart(0);
    v1::WorkerMessage abstain;
    abstain.mutable_abstain()->set_round(kOpen);
    abstain.mutable_abstain()->set_reason(v1::Abstain::SKIPPED);
    peer_->Write(abstain);
    if (i == 49) peer_->Write(one);
  }
  Eventually("it has arrived", [&] { return coordinator_->Group(9).buckets_received() == 1; });
  EXPECT_TRUE(peer_->Leave().ok());
}

// --- what is wrong -----------------------------------------------------------------------------

struct Violation {
  const char* name;
  std::function<void(v1::WorkerMessage& message)> edit;  // of a right part of bucket 1
  Code code;
  const char* words;
  uint64_t rejected = 1;
  bool twice = false;  // first as it is right, in half
};

std::ostream& operator<<(std::ostream& out, const Violation& v) { return out << v.name; }

class ViolationTest : public BadPeerTest, public ::testing::WithParamInterface<Violation> {};

TEST_P(ViolationTest, EndsTheStreamAndNothingElse) {
  peer_->BecomeActive();
  v1::WorkerMessage message = peer_->MakePart(1);
  if (GetParam().twice) {
    v1::WorkerMessage half = message;
    half.mutable_part()->mutable_data()->resize(100);
    peer_->Write(half);
  }
  GetParam().edit(message);
  peer_->Write(message);
  ExpectEnded(GetParam().code, GetParam().words, GetParam().rejected);
}

const Violation kViolations[] = {
    {"Empty", [](auto& m) { m.Clear(); }, Code::kInvalidArgument, "an empty message", 0},
    {"SecondHello", [](auto& m) { m.mutable_hello(); }, Code::kFailedPrecondition, "second Hello",
     0},
    {"OversizeFrame", [](auto& m) { m.mutable_part()->mutable_data()->resize((64 << 10) + 1); },
     Code::kInvalidArgument, "round 4 bucket 1: data bytes: expected at most 65536, got 65537"},
    {"PayloadSize", [](auto& m) { m.mutable_part()->set_payload_bytes(1); }, Code::kInvalidArgument,
     "part frame of round 4 bucket 1: data bytes: expected at most 1, got 706"},
    {"NoPayload", [](auto& m) { m.mutable_part()->set_payload_bytes(0); }, Code::kInvalidArgument,
     "round 4 bucket 1: payload_bytes: expected 1 to 714, got 0"},
    {"HugePayload", [](auto& m) { m.mutable_part()->set_payload_bytes(uint64_t{1} << 62); },
     Code::kInvalidArgument, "payload_bytes: expected 1 to 714, got 4611686018427387904"},
    {"MoreThanDeclared", [](auto& m) { m.mutable_part()->mutable_data()->append("x"); },
     Code::kInvalidArgument, "data bytes: expected at most 706, got 707"},
    {"BeginsInTheMiddle", [](auto& m) { m.mutable_part()->set_offset(100); },
     Code::kInvalidArgument, "offset: expected 0, got 100"},
    {"GapBetweenFrames", [](auto& m) { m.mutable_part()->set_offset(101); }, Code::kInvalidArgument,
     "offset: expected 100, got 101", 1, true},
    {"AnotherBucketInBetween",
     [](auto& m) {
       m.mutable_part()->set_offset(100);
       m.mutable_part()->set_bucket(2);
     },
     Code::kInvalidArgument, "bucket 2: bucket: expected 1, got 2", 1, true},
    {"BucketOutOfRange", [](auto& m) { m.mutable_part()->set_bucket(4); }, Code::kInvalidArgument,
     "bucket: expected below 4, got 4"},
    {"ChunksOfAnotherBucket", [](auto& m) { m.mutable_part()->set_first_chunk(63); },
     Code::kInvalidArgument, "64 chunks from 63, expected within [64, 128)"},
    {"TooManyChunks", [](auto& m) { m.mutable_part()->set_chunk_count(65); },
     Code::kInvalidArgument, "65 chunks from 64, expected within [64, 128)"},
    {"ChunkCountOverflows", [](auto& m) { m.mutable_part()->set_chunk_count(~uint64_t{0} - 10); },
     Code::kInvalidArgument, "chunks from 64, expected within [64, 128)"},
    {"NoChunks", [](auto& m) { m.mutable_part()->set_chunk_count(0); }, Code::kInvalidArgument,
     "0 chunks from 64"},
    {"FutureRound", [](auto& m) { SetRound(m, kOpen + 1); }, Code::kFailedPrecondition,
     "group 9 incarnation 1 spoke of round 5 bucket 1; it is in sync, and the open round is 4"},
    {"RoundZero", [](auto& m) { SetRound(m, 0); }, Code::kFailedPrecondition, "spoke of round 0"},
    {"Checksum", [](auto& m) { (*m.mutable_part()->mutable_data())[60] ^= 1; }, Code::kDataLoss,
     "group 9 round 4 bucket 1: contribution checksum: expected"},
    {"AbstainWithoutReason", [](auto& m) { m.mutable_abstain()->set_round(kOpen); },
     Code::kInvalidArgument, "abstain reason: expected 1 to 3, got 0"},
    {"AbstainForAnUnheardOfReason",
     [](auto& m) {
       m.mutable_abstain()->set_round(kOpen);
       m.mutable_abstain()->set_reason(static_cast<v1::Abstain::Reason>(77));
     },
     Code::kInvalidArgument, "abstain reason: expected 1 to 3, got 77"},
    {"AbstainOfNoBucket",
     [](auto& m) {
       m.mutable_abstain()->set_round(kOpen);
       m.mutable_abstain()->set_reason(v1::Abstain::SKIPPED);
       m.mutable_abstain()->set_bucket(4);
     },
     Code::kInvalidArgument, "bucket: expected below 4, got 4"},
    {"AbstainOfAFutureRound",
     [](auto& m) {
       m.mutable_abstain()->set_round(kOpen + 1);
       m.mutable_abstain()->set_reason(v1::Abstain::SKIPPED);
     },
     Code::kFailedPrecondition, "spoke of round 5 bucket 0"},
};

INSTANTIATE_TEST_SUITE_P(Peer, ViolationTest, ::testing::ValuesIn(kViolations),
                         [](const auto& param) { return std::string(param.param.name); });

// --- what is well framed, and never to be taken ------------------------------------------------

struct Unacceptable {
  const char* name;
  std::function<void(v1::WorkerMessage& message)> edit;  // of a right part of bucket 1
  const char* words;
};

std::ostream& operator<<(std::ostream& out, const Unacceptable& u) { return out << u.name; }

class UnacceptablePartTest : public BadPeerTest,
                             public ::testing::WithParamInterface<Unacceptable> {};

TEST_P(UnacceptablePartTest, P8a_IsAnsweredAndCountsAsAnAbstain) {
  peer_->BecomeActive();
  v1::WorkerMessage message = peer_->MakePart(1);
  GetParam().edit(message);
  peer_->Write(message);
  const v1::Refused refused = peer_->AwaitRefused();
  EXPECT_EQ(refused.round(), kOpen);
  EXPECT_EQ(refused.bucket(), 1u);
  EXPECT_THAT(refused.reason(), HasSubstr(GetParam().words));
  EXPECT_EQ(coordinator_->Status().contributions_rejected(), 1u);
  EXPECT_EQ(coordinator_->Status().abstentions(), 1u);
  // The stream is as good as before.
  peer_->Write(peer_->MakePart(0));
  Eventually("it has arrived", [&] { return coordinator_->Group(9).buckets_received() == 1; });
  EXPECT_TRUE(peer_->Leave().ok());
}

const Unacceptable kUnacceptable[] = {
    {"PayloadOfAnotherRound", [](auto& m) { Patch<uint64_t>(m, kRound, kOpen - 1); },
     "contribution round: expected 4, got 3"},
    {"IndicesOfNoSubset", [](auto& m) { Patch<uint32_t>(m, kBody, ~0u); },
     "contribution round 4, record 0 of the run from chunk 64"},
    {"NotANumber", [](auto& m) { Patch<uint16_t>(m, kValue, 0x7fc0); }, "value"},
    {"Infinity", [](auto& m) { Patch<uint16_t>(m, kValue + 2, 0xff80); }, "value"},
    {"AnotherK", [](auto& m) { Patch<uint16_t>(m, kK, 5 - 1); }, "k: expected 4, got 5"},
    {"NoInfo", [](auto& m) { m.mutable_part()->clear_info(); },
     "lr: expected one per parameter group (2), got 0"},
    {"LearningRateIsNoNumber",
     [](auto& m) {
       m.mutable_part()->mutable_info()->set_lr(1, std::numeric_limits<float>::quiet_NaN());
     },
     "lr: expected a number from 0 to 1e6, got nan"},
    {"NegativeDecay", [](auto& m) { m.mutable_part()->mutable_info()->set_weight_decay(0, -1); },
     "weight_decay: expected a number from 0 to 1e6, got -1"},
    {"TooManySamples", [](auto& m) { m.mutable_part()->mutable_info()->set_samples(~0ull); },
     "samples: expected at most 2^53"},
    {"BaseRound", [](auto& m) { m.mutable_part()->mutable_info()->set_base_round(kOpen); },
     "base_round: expected below round 4, got 4"},
};

INSTANTIATE_TEST_SUITE_P(Peer, UnacceptablePartTest, ::testing::ValuesIn(kUnacceptable),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace isthmus::e2e
