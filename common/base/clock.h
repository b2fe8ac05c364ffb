// Time, injectable. What decides takes `absl::Time now`; what touches the world holds a Clock&.
#ifndef ISTHMUS_COMMON_BASE_CLOCK_H_
#define ISTHMUS_COMMON_BASE_CLOCK_H_

#include <absl/time/time.h>

namespace isthmus {

// Thread-safe. Times are monotonic and meaningful only as differences within one process: no two
// machines ever compare them.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
  // The machine's monotonic clock.
  static const Clock& Real();
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_CLOCK_H_
