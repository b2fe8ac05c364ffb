// When a call must be over, as gRPC wants to be told: in wall time, which it turns into its own.
#ifndef ISTHMUS_COMMON_TRANSPORT_DEADLINE_H_
#define ISTHMUS_COMMON_TRANSPORT_DEADLINE_H_

#include <absl/time/time.h>

#include <chrono>

namespace isthmus {

// `patience` from now, for ClientContext::set_deadline and Server::Shutdown. No time to compute
// with: the wall clock may jump, and what decides takes its time from a Clock.
inline std::chrono::system_clock::time_point DeadlineIn(absl::Duration patience) {
  return std::chrono::system_clock::now() + absl::ToChronoMilliseconds(patience);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_DEADLINE_H_
