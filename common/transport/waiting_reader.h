// Whether a message was waited for when it came, of streams that are read one message at a time.
#ifndef ISTHMUS_COMMON_TRANSPORT_WAITING_READER_H_
#define ISTHMUS_COMMON_TRANSPORT_WAITING_READER_H_

#include <absl/time/time.h>

namespace isthmus {

// What had come before it was asked for is there at once. Touched by one read at a time.
class WaitingReader {
 public:
  // The next message is asked for.
  void Asked(absl::Time now) { asked_ = now; }
  // It is there.
  void Came(absl::Time now) { waited_ = now - asked_ > kAtOnce; }
  bool waited() const { return waited_; }

 private:
  static constexpr absl::Duration kAtOnce = absl::Microseconds(200);
  absl::Time asked_ = absl::InfinitePast();
  bool waited_ = false;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_WAITING_READER_H_
