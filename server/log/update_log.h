// The updates that were committed, in sequence: appended, then read by whoever is to be sent them.
// An interface, because what holds them may be memory (update_ring.h) or a disk, which answers when
// it can.
#ifndef ISTHMUS_SERVER_LOG_UPDATE_LOG_H_
#define ISTHMUS_SERVER_LOG_UPDATE_LOG_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "common/base/ids.h"
#include "server/log/update_record.h"

namespace isthmus {

// Thread-safe.
class UpdateLog {
 public:
  virtual ~UpdateLog() = default;

  // `appended` is called once nobody can lose the record any more, as far as this log goes: before
  // Append() returns, or later, from a thread of the log's own. In sequence; CHECKs that `sequence`
  // follows the last one (the first is 1).
  virtual void Append(Sequence sequence, std::shared_ptr<const UpdateRecord> record,
                      std::function<void()> appended) = 0;

  enum class Found {
    kHere,     // the record is there
    kLater,    // it is being fetched: `ready` will be called, and then it is here for a while
    kDropped,  // it is no longer held, or not there yet
  };
  struct ReadResult {
    Found found = Found::kDropped;
    std::shared_ptr<const UpdateRecord> record;  // kHere
  };
  // Never blocks. `ready` is called only after kLater, and once.
  virtual ReadResult Read(Sequence sequence, const std::function<void()>& ready) const = 0;

  // One round's worth, at first 1: it keeps every group that is awaited able to resume, since such
  // a group has applied the round before, or it could not have answered.
  virtual void KeepAtLeast(size_t records) = 0;
  // The oldest sequence still held; the one after the last if none is.
  virtual Sequence first_available() const = 0;
  virtual uint64_t bytes() const = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_LOG_UPDATE_LOG_H_
