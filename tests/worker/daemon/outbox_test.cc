#include "worker/daemon/outbox.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Writes down what it is asked to send.
class RecordingStream : public ExchangeClient {
 public:
  void SendPart(std::shared_ptr<const OutgoingPart> part) override {
    sent.push_back(absl::StrCat("part ", part->part.round.value(), "/", part->part.bucket.value(),
                                " ", *part->part.payload));
  }
  void SendAbstain(Round round, BucketIndex bucket, AbstainReason reason) override {
    sent.push_back(absl::StrCat("abstain ", round.value(), "/", bucket.value(), " ",
                                static_cast<int>(reason)));
  }
  void SendCaughtUp(TransferId, Sequence) override {}
  void SendAudit(Round round, const std::vector<uint64_t>& hashes) override {
    sent.push_back(absl::StrCat("audit ", round.value(), " of ", hashes.size(), " buckets"));
  }
  void SendSnapshotHeld(TransferId, const std::vector<uint64_t>&) override {}
  void GiveSnapshot(TransferId, OutgoingSnapshot::State) override {}
  void StopSending(Round, BucketIndex) override {}
  LinkEstimate link() const override { return {}; }
  absl::Duration exchange_time() const override { return {}; }
  void Cancel() override {}

  std::vector<std::string> sent;
};

std::shared_ptr<const OutgoingPart> Part(uint64_t round, uint32_t bucket, std::string payload) {
  auto part = std::make_shared<OutgoingPart>();
  part->part.round = Round(round);
  part->part.bucket = BucketIndex(bucket);
  part->part.payload = std::make_shared<const std::string>(std::move(payload));
  return part;
}

std::vector<std::string> Sent(const Outbox& outbox) {
  RecordingStream stream;
  outbox.SendAll(stream);
  return stream.sent;
}

TEST(OutboxTest, P12_KeepsTheIdenticalPartsAndSendsThemAgain) {
  Outbox outbox;
  outbox.Put(Part(2, 0, "c"));
  outbox.Put(Part(1, 1, "a"));
  outbox.Put(Part(1, 1, "b"));
  // Oldest round first, parts in the order of their extraction; as often as it is asked.
  const auto all = ElementsAre("part 1/1 a", "part 1/1 b", "part 2/0 c");
  EXPECT_THAT(Sent(outbox), all);
  EXPECT_THAT(Sent(outbox), all);
}

TEST(OutboxTest, ForgetsWhatWasDecided) {
  Outbox outbox;
  outbox.Put(Part(1, 0, "a"));
  outbox.Put(Part(1, 1, "b"));
  outbox.PutAbstain(Round(2), BucketIndex(0), AbstainReason::kSkipped);
  outbox.Forget(Round(1), BucketIndex(0));
  EXPECT_THAT(Sent(outbox), ElementsAre("part 1/1 b", "abstain 2/0 2"));
  outbox.Forget(Round(9), BucketIndex(9));
  outbox.Forget(Round(1), BucketIndex(1));
  outbox.Forget(Round(2), BucketIndex(0));
  EXPECT_THAT(Sent(outbox), IsEmpty());
}

TEST(OutboxTest, P22_SendsTheLastAuditReportAgain) {
  Outbox outbox;
  outbox.PutAudit(Round(25), {1, 2});
  outbox.PutAudit(Round(50), {3, 4, 5});
  outbox.PutAbstain(Round(51), BucketIndex(0), AbstainReason::kSkipped);
  const auto all = ElementsAre("audit 50 of 3 buckets", "abstain 51/0 2");
  EXPECT_THAT(Sent(outbox), all);
  EXPECT_THAT(Sent(outbox), all);
}

TEST(OutboxTest, P18_AbstainReplacesThePartsOfOtherRanks) {
  Outbox outbox;
  outbox.Put(Part(1, 0, "a"));
  outbox.PutAbstain(Round(1), BucketIndex(0), AbstainReason::kNonFinite);
  EXPECT_THAT(Sent(outbox), ElementsAre("abstain 1/0 1"));
}

}  // namespace
}  // namespace isthmus
