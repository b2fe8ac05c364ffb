#include "server/log/update_ring.h"

#include <utility>

#include "common/base/check.h"

namespace isthmus {

void UpdateRing::Append(Sequence sequence, std::shared_ptr<const UpdateRecord> record,
                        std::function<void()> appended) {
  {
    MutexLock lock(&mu_);
    ISTHMUS_CHECK(sequence.value() == first_ + records_.size());
    bytes_ += record->TotalBytes();
    records_.push_back(std::move(record));
    while (bytes_ > capacity_bytes_ && records_.size() > keep_at_least_) {
      bytes_ -= records_.front()->TotalBytes();
      records_.pop_front();
      ++first_;
    }
  }
  appended();  // without the lock: it may come back for more
}

void UpdateRing::KeepAtLeast(size_t records) {
  MutexLock lock(&mu_);
  keep_at_least_ = records;
}

UpdateLog::ReadResult UpdateRing::Read(Sequence sequence, const std::function<void()>&) const {
  MutexLock lock(&mu_);
  if (sequence.value() < first_ || sequence.value() >= first_ + records_.size()) return {};
  return {Found::kHere, records_[sequence.value() - first_]};
}

Sequence UpdateRing::first_available() const {
  MutexLock lock(&mu_);
  return Sequence(first_);
}

uint64_t UpdateRing::bytes() const {
  MutexLock lock(&mu_);
  return bytes_;
}

}  // namespace isthmus
