// Running relays of snapshots from groups that are in sync to groups that are not.
#ifndef ISTHMUS_SERVER_CORE_TRANSFERS_H_
#define ISTHMUS_SERVER_CORE_TRANSFERS_H_

#include <absl/time/time.h>

#include <map>
#include <optional>
#include <vector>

#include "common/base/ids.h"

namespace isthmus {

struct Transfer {
  TransferId id;
  GroupId donor;
  GroupId joiner;
  StreamId donor_stream;
  StreamId joiner_stream;
  absl::Time last_progress;
};

// At most one transfer per donor and one per joiner: a storm of joiners queues. Single-threaded.
class Transfers {
 public:
  Transfers() = default;
  // Ids follow `last`.
  explicit Transfers(TransferId last) : last_(last) {}
  Transfer& Start(GroupId donor, StreamId donor_stream, GroupId joiner, StreamId joiner_stream,
                  absl::Time now) {
    const TransferId id = last_ = last_.next();
    return transfers_[id] = Transfer{id, donor, joiner, donor_stream, joiner_stream, now};
  }
  Transfer* Find(TransferId id) {
    const auto it = transfers_.find(id);
    return it == transfers_.end() ? nullptr : &it->second;
  }
  void Erase(TransferId id) { transfers_.erase(id); }
  bool Donating(GroupId group) const {
    for (const auto& [id, t] : transfers_) {
      if (t.donor == group) return true;
    }
    return false;
  }
  bool Joining(GroupId group) const {
    for (const auto& [id, t] : transfers_) {
      if (t.joiner == group) return true;
    }
    return false;
  }
  const std::map<TransferId, Transfer>& all() const { return transfers_; }

 private:
  TransferId last_;
  std::map<TransferId, Transfer> transfers_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_TRANSFERS_H_
