// Answers of this group that no update has decided yet, kept to be sent again from their first
// byte after a reconnect (docs/protocol.md, P12); and its last audit report (P22).
#ifndef ISTHMUS_WORKER_DAEMON_OUTBOX_H_
#define ISTHMUS_WORKER_DAEMON_OUTBOX_H_

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/exchange/messages.h"
#include "common/run/update.h"
#include "worker/rpc/exchange_client.h"

namespace isthmus {

// Bounded by the core: one answer per bucket. Thread-compatible.
class Outbox {
 public:
  void Put(std::shared_ptr<const OutgoingPart> part) {
    answers_[{part->part.round, part->part.bucket}].parts.push_back(std::move(part));
  }
  void PutAbstain(Round round, BucketIndex bucket, AbstainReason reason) {
    answers_[{round, bucket}] = Answer{{}, reason};
  }
  // In place of the last one.
  void PutAudit(Round round, std::vector<uint64_t> bucket_hashes) {
    audit_ = Audit{round, std::move(bucket_hashes)};
  }
  void Forget(Round round, BucketIndex bucket) { answers_.erase({round, bucket}); }
  size_t answers() const { return answers_.size(); }
  void SendAll(ExchangeClient& stream) const {
    if (audit_) stream.SendAudit(audit_->round, audit_->bucket_hashes);
    for (const auto& [key, answer] : answers_) {
      if (answer.abstained) stream.SendAbstain(key.first, key.second, *answer.abstained);
      for (const auto& part : answer.parts) stream.SendPart(part);
    }
  }

 private:
  struct Answer {
    std::vector<std::shared_ptr<const OutgoingPart>> parts;
    std::optional<AbstainReason> abstained;
  };
  struct Audit {
    Round round;
    std::vector<uint64_t> bucket_hashes;
  };
  std::map<std::pair<Round, BucketIndex>, Answer> answers_;
  std::optional<Audit> audit_;  // the last report
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_OUTBOX_H_
