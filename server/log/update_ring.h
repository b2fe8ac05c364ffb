// The recent updates, in memory. Who resumes from further back gets a snapshot instead (P15).
#ifndef ISTHMUS_SERVER_LOG_UPDATE_RING_H_
#define ISTHMUS_SERVER_LOG_UPDATE_RING_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "common/base/ids.h"
#include "common/base/mutex.h"
#include "server/log/update_log.h"

namespace isthmus {

// Holds at most `capacity_bytes` of records, but always the newest KeepAtLeast(), dropping the
// oldest. Whatever it holds is in memory: it appends at once, and finds nothing kLater.
class UpdateRing : public UpdateLog {
 public:
  explicit UpdateRing(uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  void Append(Sequence sequence, std::shared_ptr<const UpdateRecord> record,
              std::function<void()> appended) override;
  ReadResult Read(Sequence sequence, const std::function<void()>& ready) const override;
  void KeepAtLeast(size_t records) override;
  Sequence first_available() const override;
  uint64_t bytes() const override;

 private:
  const uint64_t capacity_bytes_;
  mutable Mutex mu_;
  std::deque<std::shared_ptr<const UpdateRecord>> records_ ABSL_GUARDED_BY(mu_);
  uint64_t first_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t keep_at_least_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_LOG_UPDATE_RING_H_
