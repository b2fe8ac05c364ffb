#include "server/log/update_ring.h"

#include "common/base/check.h"

namespace isthmus {

uint64_t UpdateRecord::TotalBytes() const {
  uint64_t total = bytes.size();
  for (const Contribution& contribution : contributions) total += contribution.bytes.size();
  return total;
}

uint64_t UpdateRecord::BytesFor(GroupId group, Incarnation incarnation) const {
  uint64_t total = TotalBytes();
  for (const Contribution& contribution : contributions) {
    const bool own = contribution.group == group && contribution.incarnation == incarnation;
    if (own) total -= contribution.bytes.size();
  }
  return total;
}

std::string UpdateRecord::CopyFor(GroupId group, Incarnation incarnation, uint64_t offset,
                                  uint64_t size) const {
  std::string copy;
  copy.reserve(size);
  const auto add = [&](const std::string& piece) {
    if (offset >= piece.size()) {
      offset -= piece.size();
      return;
    }
    copy.append(piece, offset, size - copy.size());
    offset = 0;
  };
  add(bytes);
  for (const Contribution& contribution : contributions) {
    if (contribution.group == group && contribution.incarnation == incarnation) continue;
    if (copy.size() < size) add(contribution.bytes);
  }
  return copy;
}

void UpdateRing::Append(Sequence sequence, std::shared_ptr<const UpdateRecord> record) {
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
