#include "server/log/update_ring.h"

#include "common/base/check.h"

namespace isthmus {

void UpdateRing::Append(Sequence sequence, std::shared_ptr<const UpdateRecord> record) {
  MutexLock lock(&mu_);
  ISTHMUS_CHECK(sequence.value() == first_ + records_.size());
  bytes_ += record->bytes.size();
  records_.push_back(std::move(record));
  while (bytes_ > capacity_bytes_ && records_.size() > keep_at_least_) {
    bytes_ -= records_.front()->bytes.size();
    records_.pop_front();
    ++first_;
  }
}

void UpdateRing::KeepAtLeast(size_t records) {
  MutexLock lock(&mu_);
  keep_at_least_ = records;
}

std::shared_ptr<const UpdateRecord> UpdateRing::Get(Sequence sequence) const {
  MutexLock lock(&mu_);
  if (sequence.value() < first_ || sequence.value() >= first_ + records_.size()) return nullptr;
  return records_[sequence.value() - first_];
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
