#include "server/log/update_record.h"

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

}  // namespace isthmus
