// A call that ends soon after somebody has changed their mind: a signal, above all.
#ifndef ISTHMUS_COMMON_TRANSPORT_UNLESS_STOPPED_H_
#define ISTHMUS_COMMON_TRANSPORT_UNLESS_STOPPED_H_

#include <absl/time/time.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <utility>

#include "common/base/clock.h"

namespace isthmus {

struct CallEnded {
  grpc::Status status;  // CANCELLED where it was stopped
  absl::Time at;
};

// `begin` begins an asynchronous call with `context`, and has it end with the callback that it is
// given. Blocks until it has, and asks `stop` first, and then now and then, in the calling thread.
template <typename Begin>
CallEnded CallUnlessStopped(grpc::ClientContext& context, const std::function<bool()>& stop,
                            Begin begin) {
  if (stop()) return {grpc::Status(grpc::StatusCode::CANCELLED, "stopped"), Clock::Real().Now()};
  constexpr auto kInterval = std::chrono::milliseconds(50);
  // Shared: we may be gone before set_value() is through.
  const auto promise = std::make_shared<std::promise<CallEnded>>();
  std::future<CallEnded> ended = promise->get_future();
  begin([promise](grpc::Status status) {
    promise->set_value({std::move(status), Clock::Real().Now()});
  });
  while (ended.wait_for(kInterval) != std::future_status::ready) {
    // It ends all the same: what it writes to must live until then.
    if (stop()) context.TryCancel();
  }
  return ended.get();
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_UNLESS_STOPPED_H_
